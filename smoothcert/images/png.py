"""Separates a PNG's chunks: the image, and the metadata that decides how browsers show it.

The decoder gets only critical chunks, so text, profiles and other chunks can neither cost memory nor break
it.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from smoothcert.errors import BadImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE = 0, 2, 3  # colour types
ANCILLARY = 0x20  # bit of a chunk's first letter: a decoder may ignore it
SRGB_GAMMA = range(45000, 46000)  # of 100 000
SRGB_WHITE_AND_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@dataclass
class Png:
    """A PNG's parts. picture: the file with critical chunks only. chunks: metadata before the image.

    key: samples of the transparent colour, in the image's depth. exif: TIFF bytes. managed: colour management
    that is ignored.
    """

    depth: int
    colour: int
    picture: bytes = b""
    key: tuple[int, ...] | None = None
    exif: bytes = b""
    managed: str | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)


def read_png(data: bytes) -> Png:
    """Split a PNG. Raises BadImage for animations; damage is left to the decoder."""
    png = Png(data[24], data[25]) if len(data) > 25 else Png(0, 0)
    kept = [SIGNATURE]
    before, ended = True, False
    for kind, start, end in _chunks(data):
        before, ended = before and kind != b"IDAT", ended or (not before and kind not in (b"IDAT", b"IEND"))
        if before and kind not in png.chunks:
            png.chunks[kind] = data[start + 8 : end - 4]
        if kind == b"PLTE" and png.colour == PALETTE:
            kept.append(_palette(png, data[start:end]))
            continue
        shows = not kind[0] & ANCILLARY and not (ended and kind == b"IDAT")
        if shows or (kind == b"tRNS" and before and _fits_palette(png)):
            kept.append(data[start:end])
    _refuse_animation(png)
    png.picture = b"".join(kept)
    png.key = _key(png)
    png.exif = png.chunks.get(b"eXIf", b"")
    png.managed = _managed(png)
    return png


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each; the last one may be cut short."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        end = min(at + 12 + length, len(data))
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def _palette(png: Png, chunk: bytes) -> bytes:
    """The chunk, whose last colour stands for those that are missing."""
    colours, most = chunk[8:-4], 3 * 2**png.depth
    if len(colours) % 3 or not 0 < len(colours) < most:
        return chunk
    body = b"PLTE" + (colours + colours[-3:] * 256)[:most]
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _fits_palette(png: Png) -> bool:
    colours, alphas = png.chunks.get(b"PLTE", b""), png.chunks[b"tRNS"]
    return png.colour == PALETTE and bool(colours) and 0 < len(alphas) <= 256


def _key(png: Png) -> tuple[int, ...] | None:
    samples = {GREY: 1, COLOUR: 3}.get(png.colour, 0)
    body = png.chunks.get(b"tRNS", b"")
    if not samples or len(body) != 2 * samples:
        return None
    return tuple(value & (65535 if png.depth == 16 else 255) for value in struct.unpack(f">{samples}H", body))


def _refuse_animation(png: Png) -> None:
    """An animation of one frame is a still picture, where that frame is the picture itself."""
    control = png.chunks.get(b"acTL", b"")
    if len(control) != 8:
        return
    if struct.unpack(">I", control[:4])[0] > 1 or b"fcTL" not in png.chunks:
        raise BadImage("Animated images are not taken: send the one frame to certify as a still image.")


def _managed(png: Png) -> str | None:
    if png.chunks.keys() & {b"iCCP", b"cICP"}:
        return "embedded colour profile ignored"
    if b"sRGB" in png.chunks:
        return None
    gamma, primaries = png.chunks.get(b"gAMA", b""), png.chunks.get(b"cHRM", b"")
    if len(gamma) == 4 and struct.unpack(">I", gamma)[0] not in SRGB_GAMMA:
        return "embedded gamma ignored"
    if len(primaries) == 32 and any(
        abs(a - b) > 500
        for a, b in zip(struct.unpack(">8I", primaries), SRGB_WHITE_AND_PRIMARIES, strict=True)
    ):
        return "embedded chromaticities ignored"
    return None
