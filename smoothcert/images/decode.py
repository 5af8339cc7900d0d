"""Decodes an untrusted image file to the exact uint8 pixels that are certified. No torch.

A file means what browsers show. Rejected: formats other than the five below, more than MAX_PIXELS pixels
(checked in the header, before decoding), truncated or damaged files, animations. The steps, which the
`digest` of the result lists in order and the certificate repeats: rotated by EXIF orientation -> 16 bits
reduced to 8 (high byte) -> transparency composited on white -> converted to the model's grey or RGB ->
resized and cropped as the card says, unless the size is right already. So the output of `to_png` reads back
as the same pixels.
"""

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from smoothcert.errors import BadImage
from smoothcert.images.bmp import BmpHeader, decode_bmp, is_ours, read_bmp_header
from smoothcert.images.containers import GREY, SIGNATURE, Png, orientation, read_jpeg, read_png
from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.card import Preprocessing
from smoothcert.schemas.certificate import Shape

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 8192 * 6144  # the largest phone cameras; 192 MiB as RGBA
MAX_WEBP = 4096 * 6144  # its decoder keeps four copies
LARGE = 4096 * 4096  # pixels; a process decodes larger images one at a time
MAX_SCANS = 100  # of a JPEG; progressive ones have about ten, and each is a pass over all pixels
MAX_SCANNED = 20 * MAX_PIXELS  # pixels times scans
BAND = 256  # rows converted at a time, so that a large image is not in memory twice
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


PROFILE = "embedded colour profile ignored"
Mode = Literal["L", "RGB"]
Opacity = Callable[[tuple[int, int, int, int]], Image.Image]  # of a box, as L


class Frame(Protocol):
    """The target of the decoding: a model card, or the settings of a training folder."""

    @property
    def input_shape(self) -> Shape: ...

    @property
    def preprocessing(self) -> Preprocessing: ...


@dataclass
class Opened:
    """The header and metadata of a file. No pixel is decoded yet."""

    format: str
    size: tuple[int, int]  # width, height
    image: ImageFile | None = None  # None if `decode_bmp` decodes it
    orientation: int = 1
    managed: str | None = None  # colour management that is ignored
    png: Png | None = None
    bmp: BmpHeader | None = None
    frame: tuple[int, int, int, int] | None = None  # the part of a GIF's screen that has pixels


def read_image(data: bytes, card: Frame) -> CertifiedImage:
    """Decode a file to uint8 pixels of shape `card.input_shape` (C,H,W). Raises BadImage."""
    try:
        opened = _open(data)
        with _one_at_a_time if math.prod(opened.size) > LARGE else nullcontext():
            image, notes = _decode(opened, data, card.preprocessing.mode)
            image, more = _fit(image, card)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # decoders raise anything on malformed input
        raise BadImage("The image file is truncated or damaged.") from error
    return _certified([*notes, *more], image, card)


_one_at_a_time = threading.Lock()


def _certified(notes: list[str], image: Image.Image, card: Frame) -> CertifiedImage:
    pixels_HWC = np.asarray(image, np.uint8)
    pixels_CHW = np.ascontiguousarray(np.atleast_3d(pixels_HWC).transpose(2, 0, 1))
    assert pixels_CHW.shape == card.input_shape, (pixels_CHW.shape, card.input_shape)
    return CertifiedImage.of(pixels_CHW.tobytes(), card.input_shape, notes)


def to_png(image: CertifiedImage) -> bytes:
    """The pixels as a PNG file."""
    pixels_HWC = image.to_array().transpose(1, 2, 0)
    grey = pixels_HWC.shape[2] == 1
    out = BytesIO()
    Image.fromarray(pixels_HWC[:, :, 0] if grey else pixels_HWC).save(out, "PNG")
    return out.getvalue()


def _decode(opened: Opened, data: bytes, mode: Mode) -> tuple[Image.Image, list[str]]:
    """An upright, opaque 8-bit image in the card's mode, and the steps that led to it."""
    notes = [f"decoded from {opened.format}, {opened.size[0]}x{opened.size[1]}"]
    if opened.managed:
        notes.append(opened.managed)
    if opened.orientation in UPRIGHT:
        notes.append("turned upright as its EXIF orientation says")
    image, opacity = _pixels(
        opened, data
    )  # `image` is rebound below, so that a large image is not in memory twice
    if opened.png and opened.png.depth == 16:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode == "I;16" else image
        notes.append("reduced from 16 to 8 bits a channel (high byte)")
    clear = opacity is not None or image.has_transparency_data
    if clear:
        notes.append("transparency composited on white")
    notes += _conversion(_opaque_mode(image) if clear else image.mode, mode)
    image = _flat(image, opacity, mode)
    return (image.transpose(UPRIGHT[opened.orientation]) if opened.orientation in UPRIGHT else image), notes


def _pixels(opened: Opened, data: bytes) -> tuple[Image.Image, Opacity | None]:
    """The decoded image, and its opacity if the image has no alpha channel for it."""
    if opened.image is None:
        assert opened.bmp is not None
        image, mask = decode_bmp(data, opened.bmp)
        return image, mask.crop if mask else None
    opened.image.load()
    return opened.image, _opacity(opened, opened.image)


def _open(data: bytes) -> Opened:
    """Read and check the header. Raises BadImage."""
    if data.startswith(SIGNATURE):
        png = read_png(data)
        return _header(png.picture, orientation=orientation(png.exif), managed=png.managed, png=png)
    if data.startswith(b"\xff\xd8"):
        return _open_jpeg(data)
    if is_ours(header := read_bmp_header(data)):
        assert header is not None
        _refuse_large(header.width, header.height)
        return Opened("BMP", (header.width, header.height), bmp=header)
    opened = _header(data)
    assert opened.image is not None
    opened.managed = PROFILE if opened.image.info.get("icc_profile") else None
    if opened.format == "GIF":
        opened.frame = opened.image.tile[0][1]
    return opened


def _open_jpeg(data: bytes) -> Opened:
    jpeg = read_jpeg(data)
    if jpeg.scans > MAX_SCANS:
        raise BadImage(f"The JPEG has too many scans; at most {MAX_SCANS} are taken.")
    managed = PROFILE if jpeg.profile else None
    opened = _header(jpeg.picture, orientation=orientation(jpeg.exif), managed=managed)
    if jpeg.scans * math.prod(opened.size) > MAX_SCANNED:
        raise BadImage("The JPEG has too many scans for its size: save it again with fewer.")
    return opened


def _header(data: bytes, **details: Any) -> Opened:
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadImage from error
    _refuse_large(*image.size, MAX_WEBP if image.format == "WEBP" else MAX_PIXELS)
    if getattr(image, "is_animated", False):
        raise BadImage("Animated images are not taken: send the one frame to certify as a still image.")
    return Opened(str(image.format), image.size, image, **details)


def _refuse_large(width: int, height: int, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise _too_many_pixels(most)


def _too_many_pixels(most: int = MAX_PIXELS) -> BadImage:
    return BadImage(f"The image has too many pixels; at most {most} ({most // 6144}x6144) are taken.")


def _opacity(opened: Opened, image: Image.Image) -> Opacity | None:
    """Opacity that Pillow does not provide: outside a GIF's frame, or for a PNG's transparent colour."""
    if opened.frame not in (None, (0, 0, *image.size)):
        mask = Image.new("L", image.size)
        mask.paste(image.convert("RGBA").getchannel("A").crop(opened.frame), opened.frame)
        return mask.crop
    png = opened.png
    if png is None or png.key is None:
        return None
    if png.colour == GREY:
        spread = png.depth < 8  # Pillow scales those to 0..255
        value = png.key[0] * 255 // (2**png.depth - 1) if spread else png.key[0]
        return lambda box: _mask(_equal(image.crop(box).convert("L" if spread else image.mode), value))
    if png.depth == 8:
        key = png.key
        return lambda box: _mask(_equal(image.crop(box), *key))
    low = _low_bytes(png)
    high_key, low_key = ([value >> shift & 255 for value in png.key] for shift in (8, 0))
    return lambda box: _mask(_equal(image.crop(box), *high_key) & _equal(low.crop(box), *low_key))


def _equal(image: Image.Image, *key: int) -> NDArray[np.bool_]:
    """Mask of the pixels with this colour, shape (H, W)."""
    channels = np.atleast_3d(np.asarray(image))
    return np.asarray(np.logical_and.reduce([channels[:, :, i] == value for i, value in enumerate(key)]))


def _mask(clear_HW: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(clear_HW, 0, 255).astype(np.uint8))


def _low_bytes(png: Png) -> Image.Image:
    """The low bytes of 16-bit colour: read with swapped byte order, as Pillow keeps the high bytes."""
    image = Image.open(BytesIO(png.picture), formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image


def _opaque_mode(image: Image.Image) -> str:
    return "L" if image.mode in ("1", "L", "LA") else "RGB"


def _conversion(source: str, mode: Mode) -> list[str]:
    how = "grey" if mode == "L" else "RGB"
    name = {"P": "palette", "1": "grey", "L": "grey"}.get(source, source)
    if name == how:
        return []
    return [f"converted from {name} to {how}" + (" (ITU-R 601 luma)" if mode == "L" else "")]


def _flat(image: Image.Image, opacity: Opacity | None, mode: Mode) -> Image.Image:
    """Composite on white and convert to `mode`, BAND rows at a time."""
    if image.mode == mode and opacity is None and not image.has_transparency_data:
        return image
    flat = Image.new(mode, image.size)
    for top in range(0, image.height, BAND):
        box = 0, top, image.width, min(top + BAND, image.height)
        band = image.crop(box)
        if opacity is not None:
            band = _on_white(band, opacity(box))
        elif band.has_transparency_data:
            band = _on_white(band)
        colour = (
            band if band.mode in ("1", "L", "RGB") else band.convert("RGB")
        )  # Pillow can't convert CMYK to grey directly
        flat.paste(colour.convert(mode), box)
    return flat


def _on_white(image: Image.Image, opacity: Image.Image | None = None) -> Image.Image:
    mode = _opaque_mode(image)
    if opacity is None:
        image = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        opacity = image.getchannel("A")
    white = Image.new(mode, image.size, "white")
    white.paste(image.convert(mode), mask=opacity)
    return white


def _fit(image: Image.Image, card: Frame) -> tuple[Image.Image, list[str]]:
    """Resize and crop to the card's height and width; also returns the steps."""
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
    """Scale the short side to `length` pixels, like torchvision's Resize."""
    short = min(image.size)
    width, height = (int(length * side / short) for side in image.size)
    if width * height > MAX_PIXELS:
        raise BadImage("The image is too long and narrow to be resized.")
    return image.resize((width, height), Image.Resampling.BILINEAR)
