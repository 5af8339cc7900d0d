"""From an image file, which nobody trusts, to the exact uint8 pixels that are certified. No torch.

What is refused: any format but the five below, more than MAX_PIXELS pixels (checked in the header, before
anything is decoded), truncated or damaged files, animations (which frame is meant?). What is done to the
others is said, step by step and in order, in the `digest` of the result, which becomes part of the
certificate: turned upright as EXIF says -> 16 bits reduced to 8 (high byte) -> transparency composited on
white -> converted to the model's grey or RGB -> resized and cropped as the model's card says, unless it has
the input's size already, so that the pixels of `to_png` read back as themselves.
"""

from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from certification.contract.card import Preprocessing
from certification.contract.certificate import Shape
from certification.contract.pixels import CertifiedImage
from certification.errors import BadImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 4096 * 4096  # 64 MiB as RGBA; bounds the memory one upload can take
ORIENTATION = 0x0112  # the EXIF tag
MOST_SCANS = 100  # of a JPEG; a progressive one has about ten, and each one costs a pass over all its pixels
SCAN = b"\xff\xda"
RUN_LENGTHS = {1, 2}  # a BMP's `compression`: decoded in Python, seconds for some thousand bytes
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Frame(Protocol):
    """What an image is brought to: a model card is one, and a training folder has its own."""

    @property
    def input_shape(self) -> Shape: ...

    @property
    def preprocessing(self) -> Preprocessing: ...


def read_image(data: bytes, card: Frame) -> CertifiedImage:
    """Decode a file and bring it to `card.input_shape`. Raises BadImage."""
    try:
        image, notes = _decode(data)
        image, more = _fit(_as_mode(image, card.preprocessing.mode, notes), card)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # a decoder fed with a stranger's bytes raises whatever it likes
        raise BadImage("The image file is truncated or damaged.") from error
    return _certified([*notes, *more], image, card)


def _certified(notes: list[str], image: Image.Image, card: Frame) -> CertifiedImage:
    pixels_HWC = np.asarray(image, np.uint8)
    pixels_CHW = np.ascontiguousarray(np.atleast_3d(pixels_HWC).transpose(2, 0, 1))
    assert pixels_CHW.shape == card.input_shape, (pixels_CHW.shape, card.input_shape)
    return CertifiedImage.of(pixels_CHW.tobytes(), card.input_shape, notes)


def to_png(image: CertifiedImage) -> bytes:
    """The same pixels as a lossless file."""
    pixels_HWC = image.to_array().transpose(1, 2, 0)
    grey = pixels_HWC.shape[2] == 1
    out = BytesIO()
    Image.fromarray(pixels_HWC[:, :, 0] if grey else pixels_HWC).save(out, "PNG")
    return out.getvalue()


def _decode(data: bytes) -> tuple[Image.Image, list[str]]:
    """An upright 8-bit image without transparency, in whatever mode, and what was done to get there."""
    image: Image.Image = _open(data)  # one name throughout: a large picture is not kept twice
    notes = [f"decoded from {image.format}, {image.width}x{image.height}"]
    deep = image.format == "PNG" and data[24] == 16  # the IHDR chunk's bit depth
    transpose = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    if image.info.get("icc_profile"):
        notes.append("embedded colour profile ignored")
    image.load()
    if transpose is not None:
        image = image.transpose(transpose)
        notes.append("turned upright as its EXIF orientation says")
    if deep:
        image = _reduce_depth(image)
        notes.append("reduced from 16 to 8 bits a channel (high byte)")
    if image.has_transparency_data:
        image = _on_white(image)
        notes.append("transparency composited on white")
    return image, notes


def _open(data: bytes) -> Image.Image:
    """The file's header, checked; no pixel is decoded yet."""
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadImage from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels()
    if image.format in ("JPEG", "MPO") and data.count(SCAN) > MOST_SCANS:
        raise BadImage(f"The JPEG has too many scans; at most {MOST_SCANS} are taken.")
    if image.format == "BMP" and image.info.get("compression") in RUN_LENGTHS:
        raise BadImage("Run-length encoded BMP files are not taken: save it without compression, or as PNG.")
    several = getattr(image, "is_animated", False)
    if several and image.format != "MPO":  # a phone's JPEG with a preview beside it: the first is the picture
        raise BadImage("Animated images are not taken: send the one frame to certify as a still image.")
    return image


def _too_many_pixels() -> BadImage:
    return BadImage(f"The image has too many pixels; at most {MAX_PIXELS} (4096x4096) are taken.")


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Pillow has reduced 16-bit colour by the high byte and kept 16-bit grey: do the same to grey."""
    if not image.mode.startswith("I"):
        return image
    key = image.info.get("transparency")
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    reduced = Image.fromarray(grey)
    if key is not None:
        reduced.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
    return reduced


def _on_white(image: Image.Image) -> Image.Image:
    mode = "L" if image.mode in ("L", "LA") else "RGB"
    opaque = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    white = Image.new(mode, image.size, "white")
    white.paste(opaque.convert(mode), mask=opaque.getchannel("A"))
    return white


def _as_mode(image: Image.Image, mode: str, notes: list[str]) -> Image.Image:
    if image.mode == mode:
        return image
    grey = image.mode in ("1", "L")
    how = "grey" if mode == "L" else "RGB"
    source = "palette" if image.mode == "P" else "grey" if grey else image.mode
    if source != how:
        notes.append(f"converted from {source} to {how}" + (" (ITU-R 601 luma)" if mode == "L" else ""))
    colour = image if image.mode in ("1", "L", "RGB") else image.convert("RGB")  # CMYK has no way to grey
    return colour.convert(mode)


def _fit(image: Image.Image, card: Frame) -> tuple[Image.Image, list[str]]:
    """Bring an image to the card's height and width; the notes say how."""
    _, height, width = card.input_shape
    if image.size == (width, height):
        return image, []
    resize = card.preprocessing.resize
    if resize is None:
        scaled = image.resize((width, height), Image.Resampling.BILINEAR)
        return scaled, [f"resized from {image.width}x{image.height} to {width}x{height} (bilinear)"]
    scaled = _short_side(image, resize)
    left, top = round((scaled.width - width) / 2), round((scaled.height - height) / 2)
    crop = scaled.crop((left, top, left + width, top + height))
    return crop, [
        f"resized from {image.width}x{image.height} to {scaled.width}x{scaled.height} (bilinear)",
        f"cropped to the central {width}x{height}",
    ]


def _short_side(image: Image.Image, length: int) -> Image.Image:
    """Scaled in proportion until the short side has `length` pixels, as torchvision's Resize does."""
    short = min(image.size)
    width, height = (int(length * side / short) for side in image.size)
    if width * height > MAX_PIXELS:
        raise BadImage("The image is too long and narrow to be resized.")
    return image.resize((width, height), Image.Resampling.BILINEAR)
