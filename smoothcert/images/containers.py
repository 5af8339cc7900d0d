"""Separates PNG chunks and JPEG segments: the image, and the metadata that decides how browsers show it.

The decoder gets only the image: no texts, profiles or previews, nor the videos that phones append, which
could cost memory or break it.
"""

import re
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


MARKER = re.compile(rb"\xff+([^\x00\xff])")  # start of a segment, as libjpeg finds it
AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # restart markers are part of the scan
ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}  # markers without a segment
SCAN, END, COMMENT = 0xDA, 0xD9, 0xFE
JFIF, EXIF, PROFILE, ADOBE = 0xE0, 0xE1, 0xE2, 0xEE
BESIDE = {*range(0xE0, 0xF0), COMMENT} - {JFIF, ADOBE}  # those two define the colour space


@dataclass
class Jpeg:
    """picture: the file without metadata. exif: TIFF bytes of the first EXIF segment. scans: their number."""

    picture: bytes = b""
    exif: bytes = b""
    profile: bool = False
    scans: int = 0


def read_jpeg(data: bytes) -> Jpeg:
    """Split a JPEG. Damage is left to the decoder."""
    jpeg, kept, at, copied = Jpeg(), [], 2, 0
    expected = MARKER
    while found := expected.search(data, at):
        marker, after = found[1][0], found.end()
        if marker == END:
            kept.append(data[copied:after])
            copied = len(data)
            break
        at = after if marker in ALONE else after + max(2, int.from_bytes(data[after : after + 2]))
        expected = AFTER_SCAN if marker == SCAN else MARKER
        jpeg.scans += marker == SCAN
        if marker in BESIDE:
            kept.append(data[copied : found.start()])
            copied = at
            _read_metadata(jpeg, marker, data[after + 2 : at])
    kept.append(data[copied:])
    jpeg.picture = b"".join(kept)
    return jpeg


def _read_metadata(jpeg: Jpeg, marker: int, body: bytes) -> None:
    if marker == EXIF and body.startswith(b"Exif\0") and not jpeg.exif:
        jpeg.exif = body[6:]
    if marker == PROFILE and body.startswith(b"ICC_PROFILE\0"):
        jpeg.profile = True


ORIENTATION, SHORT = 0x0112, 3


def orientation(tiff: bytes) -> int:
    """The EXIF orientation of TIFF bytes: 1 (upright) to 8; 1 if missing or unreadable."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for i in range(count):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * i)
            if (tag, kind, values) == (ORIENTATION, SHORT, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
