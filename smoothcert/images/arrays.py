"""An image given in Python - a path, a PIL image, an array, a tensor - to the exact pixels that are
certified.

Noise is drawn on the grid of multiples of 1/255, so an image must lie on it: eight-bit pixels do.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from smoothcert.errors import BadImage
from smoothcert.images.decode import Frame, read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.limits import CHANNELS

LEVELS = 255
ROUNDING = 1e-4  # levels: how far float32 arithmetic may move a multiple of 1/255
_FLOATS = (np.float32, np.float64)
_SAVED = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")  # modes that PNG keeps as they are
_WITH_ALPHA = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_UNTURNED = ("WEBP", "BMP", "GIF")  # formats in which EXIF turns nothing


class OnGrid(NamedTuple):
    """pixels: uint8, of the same shape. distance: l2 from the image to pixels/255, pixels in [0,1]."""

    pixels: NDArray[np.uint8]
    distance: float


def to_grid(image: Any) -> OnGrid:
    """Round floats in [0,1], an array or tensor of any shape, to the nearest k/255.

    A certificate of the rounded pixels with radius r holds for the given image within r - distance. Raises
    BadImage: not finite, outside [0,1], or not floats.
    """
    values = _as_array(image)
    if values.dtype.kind != "f":
        raise BadImage(f"to_grid takes floats in [0,1]; these are {values.dtype}.")
    values = values.astype(np.float64)
    _check_range(values)
    pixels = np.rint(values * LEVELS).astype(np.uint8)
    return OnGrid(pixels, float(np.linalg.norm(values - pixels / LEVELS)))


def certified_image(image: Any, card: Frame) -> CertifiedImage:
    """The certified pixels of an image in any of the forms below, of shape `card.input_shape`.

    A path, the bytes of a file or a PIL image: converted to grey or RGB, resized and cropped as the card
    says. An array or tensor: exact, so of the right size: uint8, or floats in [0,1] that are multiples of
    1/255 up to float32 rounding; shape (H,W), (H,W,C) or (C,H,W) (taken where two fit). Raises BadImage.
    """
    if isinstance(image, str | Path):
        return _of_file(Path(image), card)
    if isinstance(image, bytes):
        return read_image(image, card)
    if isinstance(image, Image.Image):
        return _of_picture(image, card)
    pixels_CHW = _channels_first(_levels(_as_array(image)), card.input_shape)
    return CertifiedImage.of(pixels_CHW.tobytes(), card.input_shape, ["pixels as given"])


def _of_file(path: Path, card: Frame) -> CertifiedImage:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:  # a null byte
        raise BadImage(f"{str(path)!r} is no path: {error}.") from error
    try:
        return read_image(data, card)
    except BadImage as error:
        raise BadImage(f"{path}: {error}") from error


def _of_picture(picture: Image.Image, card: Frame) -> CertifiedImage:
    read = read_image(png_of(picture), card)
    steps = [f"from a PIL image, {picture.width}x{picture.height}", *read.digest.preprocessing[1:]]
    return CertifiedImage(read.pixels, read.digest.model_copy(update={"preprocessing": steps}))


def png_of(picture: Image.Image) -> bytes:
    """A PIL image as PNG, which loses nothing, turned as its own file would be. Raises BadImage."""
    if picture.mode in ("F", "I"):
        raise BadImage(f"A PIL image of mode {picture.mode} has no eight-bit pixels: convert it to L or RGB.")
    file = BytesIO()
    try:
        upright = picture if picture.format in _UNTURNED else ImageOps.exif_transpose(picture)
        _plain(upright).save(file, "PNG", compress_level=1)
    except Exception as error:  # Pillow decodes only now, and raises anything on malformed files
        raise BadImage(f"The PIL image can't be read: {error}.") from error
    return file.getvalue()


def _plain(picture: Image.Image) -> Image.Image:
    """In a mode that PNG has."""
    if picture.mode in _SAVED:
        return picture
    if picture.mode.startswith("I;16"):  # another byte order, of which Pillow's conversions know nothing
        return Image.fromarray(np.asarray(picture).astype(np.uint16))
    return picture.convert(_WITH_ALPHA.get(picture.mode, "RGB"))


def as_picture(image: Any) -> Image.Image:
    """An array or tensor as `certified_image` takes it, of any size, as a PIL image. Raises BadImage."""
    pixels = _levels(_as_array(image))
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS.values() and pixels.shape[0] in CHANNELS.values():
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] != 3):
        raise BadImage(f"An image has shape (H, W), (H, W, C) or (C, H, W); this has {pixels.shape}.")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _as_array(image: Any) -> NDArray[Any]:
    if hasattr(image, "detach") and hasattr(
        image, "dtype"
    ):  # a tensor, on any device; torch need not be loaded here
        image = image.detach().cpu()
        kind = str(image.dtype).removeprefix("torch.")
        if kind == "bfloat16":
            raise _wrong_type(kind)
        image = image.numpy()
    if not isinstance(image, np.ndarray | np.generic):
        raise BadImage(
            f"An image is a path, a PIL image, an array or a tensor; this is a {type(image).__name__}."
        )
    return np.asarray(image)


def _levels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixel values 0..255 of uint8 or of floats on the grid."""
    if image.dtype == np.uint8:
        return image
    if image.dtype not in _FLOATS:
        raise _wrong_type(str(image.dtype))
    values = image.astype(np.float64)
    _check_range(values)
    scaled = values * LEVELS
    levels = np.rint(scaled)
    farthest = float(np.abs(scaled - levels).max(initial=0.0))
    if farthest > ROUNDING:
        raise BadImage(
            f"These floats are no multiples of 1/255 (they lie up to {farthest:.2g} of one beside them): "
            "round them with smoothcert.to_grid(image), which says how far that moves the image."
        )
    return levels.astype(np.uint8)


def _wrong_type(kind: str) -> BadImage:
    return BadImage(f"An image is uint8, or float32 or float64 in [0,1]; this one is {kind}: convert it.")


def _check_range(values: NDArray[np.float64]) -> None:
    if not np.isfinite(values).all():
        raise BadImage("The image holds NaN or infinite numbers.")
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    tiny = ROUNDING / LEVELS
    if low < -tiny:
        raise BadImage(
            f"The image has values down to {low:.4g}, but pixels are in [0,1]: give it before normalisation, "
            "and mean= and std= to SmoothedClassifier."
        )
    if high > 1 + tiny:
        raise BadImage(f"The image has values up to {high:.4g}, but floats are in [0,1]: divide it by 255?")


def _channels_first(pixels: NDArray[np.uint8], shape_CHW: Shape) -> NDArray[np.uint8]:
    channels, height, width = shape_CHW
    if pixels.ndim == 2 and channels == 1:
        pixels = pixels[np.newaxis]
    if pixels.shape == shape_CHW:
        return np.ascontiguousarray(pixels)
    if pixels.shape == (height, width, channels):
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    raise BadImage(_mismatch(pixels.shape, shape_CHW))


def _mismatch(shape: Sequence[int], shape_CHW: Shape) -> str:
    channels, height, width = shape_CHW
    layouts = f"({channels}, {height}, {width}) or ({height}, {width}, {channels})"
    takes = f"The classifier takes images of shape {layouts}; "
    if len(shape) == 4:
        return f"{takes}this has shape {tuple(shape)}: give one image, such as batch[0]."
    return f"{takes}this has shape {tuple(shape)}. A PIL image or a file would be resized and converted."
