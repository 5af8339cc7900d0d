"""The orientation that a camera wrote into a picture's EXIF data (TIFF bytes)."""

import struct

ORIENTATION, SHORT = 0x0112, 3


def orientation(tiff: bytes) -> int:
    """1 (upright) to 8; 1 where it isn't said, or can't be read."""
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
