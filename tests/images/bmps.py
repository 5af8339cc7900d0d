"""BMPs made by hand: the layouts that browsers show."""

import struct
from collections.abc import Iterator

import numpy as np

from tests.images.pngs import SIDE

MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0xFF000000)}


def bmp_file(header: bytes, table: bytes, rows: bytes) -> bytes:
    offset = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + table + rows


def info(
    bits: int, height: int = SIDE, compression: int = 0, *, size: int = 40, length: int = 0, colours: int = 0
) -> bytes:
    return struct.pack("<IiiHHIIiiII", size, SIDE, height, 1, bits, compression, length, 0, 0, colours, 0)


def bmp_rows(bits: int, seed: int = 0, alpha: int | None = None) -> bytes:
    """Rows of random bits, each filled up to four bytes."""
    drawn = np.random.default_rng(bits + seed).integers(
        0, 256, (SIDE, (SIDE * bits + 31) // 32 * 4), np.uint8
    )
    if alpha is not None:
        drawn[:, 3::4] = alpha
    return drawn.tobytes()


def colours(count: int, size: int = 4) -> bytes:
    return np.random.default_rng(count).integers(0, 256, (count, size), np.uint8).tobytes()


def v4(bits: int, masks: tuple[int, ...], compression: int = 3, size: int = 108, height: int = SIDE) -> bytes:
    return (info(bits, height, compression, size=size) + struct.pack("<IIII", *masks)).ljust(size, b"\0")


def bmps() -> Iterator[tuple[str, bytes]]:
    for bits in (1, 4, 8):
        table = colours(2**bits)
        yield f"bmp {bits}", bmp_file(info(bits), table, bmp_rows(bits))
        yield f"bmp {bits} top down", bmp_file(info(bits, -SIDE), table, bmp_rows(bits))
        os2 = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, bits)
        yield f"bmp {bits} os/2", bmp_file(os2, colours(2**bits, 3), bmp_rows(bits))
        yield f"bmp {bits} os/2 2", bmp_file(info(bits, size=64).ljust(64, b"\0"), table, bmp_rows(bits))
    few = bmp_rows(8, 1)
    yield "bmp 8 few colours", bmp_file(info(8, colours=200), colours(256)[:800], bytes(b % 200 for b in few))
    for bits in (16, 24, 32):
        yield f"bmp {bits}", bmp_file(info(bits), b"", bmp_rows(bits))
        yield f"bmp {bits} top down", bmp_file(info(bits, -SIDE), b"", bmp_rows(bits))
    yield "bmp 24 os/2", bmp_file(struct.pack("<IHHHH", 12, SIDE, SIDE, 1, 24), b"", bmp_rows(24))
    yield "bmp 32 alpha 0", bmp_file(info(32), b"", bmp_rows(32, alpha=0))
    for name, bits, masks in (
        ("565", 16, (0xF800, 0x7E0, 0x1F)),
        ("555", 16, (0x7C00, 0x3E0, 0x1F)),
        ("444", 16, (0xF00, 0xF0, 0xF)),
        ("rgb", 32, (0xFF0000, 0xFF00, 0xFF)),
        ("bgr", 32, (0xFF, 0xFF00, 0xFF0000)),
        ("high", 32, (0xFF000000, 0xFF0000, 0xFF00)),
        ("10 bits", 32, (0x3FF00000, 0xFFC00, 0x3FF)),
    ):
        yield (
            f"bmp {bits} masks {name}",
            bmp_file(info(bits, compression=3), struct.pack("<III", *masks), bmp_rows(bits)),
        )
        yield f"bmp {bits} masks {name} v4", bmp_file(v4(bits, (*masks, 0)), b"", bmp_rows(bits))
    for size in (108, 124):
        yield f"bmp 32 alpha v{size}", bmp_file(v4(32, MASKS[32], size=size), b"", bmp_rows(32))
        yield (
            f"bmp 32 alpha 255 v{size}",
            bmp_file(v4(32, MASKS[32], size=size), b"", bmp_rows(32, alpha=255)),
        )
        yield f"bmp 32 rgb v{size}", bmp_file(v4(32, MASKS[32], 0, size=size), b"", bmp_rows(32))
        yield (
            f"bmp 32 rgb no alpha mask v{size}",
            bmp_file(v4(32, (0, 0, 0, 0), 0, size=size), b"", bmp_rows(32)),
        )
    argb1555 = (0x7C00, 0x3E0, 0x1F, 0x8000)
    yield "bmp 16 alpha 1555", bmp_file(v4(16, argb1555), b"", bmp_rows(16))
    for size in (52, 56):
        yield f"bmp 32 alpha v{size}", bmp_file(v4(32, MASKS[32], size=size), b"", bmp_rows(32))
        yield (
            f"bmp 16 masks 565 v{size}",
            bmp_file(v4(16, (0xF800, 0x7E0, 0x1F, 0), size=size), b"", bmp_rows(16)),
        )
    lines = b"\5\7\3\2\0\0" + b"\0\5abcde\0\3\1\0\0" + b"\3\1\0\2\0\0\5\x11\0\0" + b"\x08\x20\0\0"
    yield "bmp rle8", bmp_file(info(8, compression=1), colours(256), 2 * lines + b"\0\1")
    full8 = b"".join(b"%c%c%c%c\0\0" % (5, y * 3, 3, y * 7 + 1) for y in range(SIDE)) + b"\0\1"
    yield "bmp rle8 full", bmp_file(info(8, compression=1, length=len(full8)), colours(256), full8)
    lines = (
        b"\5\x12\3\x77\0\0" + b"\0\5\x12\x34\x50\0\3\xab\0\0" + b"\3\1\0\2\0\0\5\xcd\0\0" + b"\x08\x20\0\0"
    )
    yield "bmp rle4", bmp_file(info(4, compression=2), colours(16), 2 * lines + b"\0\1")


def disputed_bmps() -> Iterator[tuple[str, bytes]]:
    """Which one release of Chromium shows otherwise than another."""
    for size in (108, 124):
        yield f"bmp 32 alpha 0 v{size}", bmp_file(v4(32, MASKS[32], size=size), b"", bmp_rows(32, alpha=0))
    for bits, runs in (8, b"\5\7\3\2\0\0\0\2\3\1\2\x11\0\1"), (4, b"\5\x12\3\x77\0\0\2\x23\0\1"):
        yield (
            f"bmp rle{bits} gaps",
            bmp_file(info(bits, compression=1 if bits == 8 else 2), colours(2**bits), runs),
        )
