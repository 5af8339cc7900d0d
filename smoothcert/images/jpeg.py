"""Separates a JPEG's segments: the image, and the metadata that decides how browsers show it.

The decoder gets only the image up to its end marker, without previews, profiles, texts, or the videos that
phones append.
"""

import re
import struct
from dataclasses import dataclass

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
