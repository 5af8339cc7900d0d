"""Decodes BMP as browsers do, where Pillow differs: 16 and 32 bits, bit masks, run-length encoding.

What browsers show differently from one release to the next is refused: nobody could say what was certified.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smoothcert.errors import BadImage

PLAIN, RLE8, RLE4, MASKS, MASKS_AND_ALPHA = 0, 1, 2, 3, 6  # values of `compression`
V3 = 40  # size of the header
WITH_ALPHA = {56, 108, 124}  # sizes of headers with an alpha mask
MAX_RUNS = 2_000_000  # bytes; every two are a step in Python
DISPUTED = "This BMP {}, which browsers show differently: save it as PNG."


@dataclass(frozen=True)
class BmpHeader:
    """A Windows BMP header (40 bytes or more). offset: position of the pixels in the file."""

    offset: int
    size: int
    width: int
    height: int
    bits: int
    compression: int
    colours: int
    top_down: bool


def read_bmp_header(data: bytes) -> BmpHeader | None:
    """The header, or None for the older OS/2 header (without masks or run lengths) or no BMP."""
    if len(data) < 14 + V3 or data[:2] != b"BM":
        return None
    offset, size = struct.unpack_from("<II", data, 10)
    width, height, _, bits, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", data, 18)
    if size < V3 or width <= 0:
        return None
    return BmpHeader(offset, size, width, abs(height), bits, compression, colours, height < 0)


def is_ours(header: BmpHeader | None) -> bool:
    """Whether `decode_bmp` must read it instead of Pillow."""
    return header is not None and (header.bits in (16, 32) or header.compression != PLAIN)


def decode_bmp(data: bytes, header: BmpHeader) -> tuple[Image.Image, Image.Image | None]:
    """The image, and its opacity (mode L) unless it has no alpha. Raises BadImage."""
    if header.compression in (RLE8, RLE4):
        return _by_runs(data, header), None
    if header.bits not in (16, 32) or header.compression not in (PLAIN, MASKS, MASKS_AND_ALPHA):
        raise BadImage("This layout of BMP is not taken: save it as PNG.")
    return _by_masks(data, header)


def _by_masks(data: bytes, header: BmpHeader) -> tuple[Image.Image, Image.Image | None]:
    stride = (header.width * header.bits + 31) // 32 * 4
    if len(data) < header.offset + stride * header.height:
        raise BadImage("The image file is truncated or damaged.")
    kind = "<u2" if header.bits == 16 else "<u4"
    rows = np.frombuffer(data, np.uint8, stride * header.height, header.offset)
    values_HW = rows.reshape(header.height, stride).view(kind)[:, : header.width]
    red, green, blue, alpha = _masks(data, header)
    picture = Image.merge("RGB", [_image(_channel(values_HW, mask), header) for mask in (red, green, blue)])
    if not alpha:
        return picture, None
    opacity_HW = _channel(values_HW, alpha)
    if not opacity_HW.any():
        raise BadImage(DISPUTED.format("is fully transparent"))
    return picture, _image(opacity_HW, header)


def _image(rows_HW: NDArray[np.uint8], header: BmpHeader) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(rows_HW if header.top_down else rows_HW[::-1]))


def _masks(data: bytes, header: BmpHeader) -> tuple[int, ...]:
    """Bit masks of red, green, blue and alpha. Browsers ignore alpha with older headers."""
    masks = struct.unpack_from("<IIII", data, 54) if len(data) >= 70 else (0, 0, 0, 0)
    alpha = masks[3] if header.size in WITH_ALPHA else 0
    if header.compression != PLAIN:
        return (*masks[:3], alpha)
    return (0x7C00, 0x3E0, 0x1F, alpha) if header.bits == 16 else (0xFF0000, 0xFF00, 0xFF, alpha)


def _channel(values_HW: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """The masked bits scaled to 0..255; of more than eight bits the high ones."""
    if not mask:
        return np.zeros(values_HW.shape, np.uint8)
    low = (mask & -mask).bit_length() - 1
    bits = (mask >> low).bit_length()
    levels_HW = (values_HW & mask) >> low
    if bits >= 8:
        return (levels_HW >> (bits - 8)).astype(np.uint8)
    most = 2**bits - 1
    spread = np.array([(255 * level + most // 2) // most for level in range(most + 1)], np.uint8)
    return np.take(spread, levels_HW)


def _by_runs(data: bytes, header: BmpHeader) -> Image.Image:
    """Run-length encoded pixels."""
    colours = min(header.colours or 2**header.bits, 256)
    table = np.frombuffer(data, np.uint8, 4 * colours, 14 + header.size).reshape(-1, 4)
    indices_HW = np.zeros((header.height, header.width), np.uint8)
    drawn_HW = np.zeros((header.height, header.width), np.bool_)
    _draw_runs(data[header.offset :], header, indices_HW, drawn_HW)
    if not drawn_HW.all():
        raise BadImage(DISPUTED.format("has pixels that none of its runs covers"))
    picture = _image(indices_HW, header)
    picture.putpalette(np.ascontiguousarray(table[:, 2::-1]).tobytes())
    return picture


def _draw_runs(
    runs: bytes, header: BmpHeader, indices_HW: NDArray[np.uint8], drawn_HW: NDArray[np.bool_]
) -> None:
    if len(runs) > MAX_RUNS:
        raise BadImage(f"Run-length encoded BMP files are taken up to {MAX_RUNS} bytes: save it as PNG.")
    four = header.compression == RLE4
    x = y = at = 0
    while at + 2 <= len(runs):
        count, code = runs[at], runs[at + 1]
        at += 2
        if count:
            pixels = bytes((code >> 4, code & 15)) * (count // 2 + 1) if four else bytes((code,)) * count
        elif code == 0:  # end of the line
            x, y = 0, y + 1
            continue
        elif code == 1:  # end of the picture
            return
        elif code == 2:  # move right and up
            if at + 2 > len(runs):
                break
            x, y, at = x + runs[at], y + runs[at + 1], at + 2
            continue
        else:  # that many literal pixels, padded to two bytes
            count, length = code, (code + 1) // 2 if four else code
            packed = runs[at : at + length]
            pixels = bytes(half for byte in packed for half in (byte >> 4, byte & 15)) if four else packed
            at += length + length % 2
        room = min(count, header.width - x)
        if y >= header.height or room < 0 or len(pixels) < count:
            break
        indices_HW[y, x : x + room] = np.frombuffer(pixels, np.uint8, room)
        drawn_HW[y, x : x + room] = True
        x += room
    raise BadImage("Run-length encoded BMP: its runs don't fit the picture; it is truncated or damaged.")
