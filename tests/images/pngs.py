"""PNGs made by hand, as PngSuite has them: every colour type and depth, with and without transparency."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

SIDE = 8
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _rows(samples_HWC: np.ndarray, depth: int) -> bytes:
    rows = samples_HWC.reshape(samples_HWC.shape[0], -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)


def png(samples_HWC: np.ndarray, depth: int, colour: int, *before: bytes, laced: bool = False) -> bytes:
    """`before`: chunks in front of the pixels."""
    height, width = samples_HWC.shape[:2]
    passes = [samples_HWC[y::dy, x::dx] for x, y, dx, dy in ADAM7] if laced else [samples_HWC]
    rows = b"".join(_rows(one, depth) for one in passes if one.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, laced)
    body = b"".join(
        [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


def samples(depth: int, colour: int) -> np.ndarray:
    """Every value of a shallow depth, random ones of a deep one; the first pixels repeat."""
    shape = (SIDE, SIDE, CHANNELS[colour])
    drawn = np.random.default_rng(depth * 10 + colour).integers(0, 2**depth, shape)
    drawn[0, :4] = drawn[0, 0]
    return drawn


def palette(depth: int) -> bytes:
    colours = np.random.default_rng(depth).integers(0, 256, (2**depth, 3), np.uint8)
    return chunk(b"PLTE", colours.tobytes())


def key(drawn: np.ndarray, colour: int, flip: int = 0) -> bytes:
    """The first pixel's colour is transparent; flip: changes a bit of the key."""
    return chunk(b"tRNS", b"".join(struct.pack(">H", int(value) ^ flip) for value in drawn[0, 0]))


def pngs() -> Iterator[tuple[str, bytes]]:
    for colour, depths in DEPTHS.items():
        for depth in depths:
            drawn = samples(depth, colour)
            before = [palette(depth)] if colour == 3 else []
            for laced in (False, True):
                name = f"png colour {colour} depth {depth}{' interlaced' if laced else ''}"
                yield name, png(drawn, depth, colour, *before, laced=laced)
                if colour == 3:
                    alphas = bytes(i * 37 % 256 for i in range(2**depth - 1))
                    yield (
                        f"{name} alphas",
                        png(drawn, depth, colour, *before, chunk(b"tRNS", alphas), laced=laced),
                    )
                elif colour in (0, 2):
                    yield f"{name} key", png(drawn, depth, colour, key(drawn, colour), laced=laced)
                    yield f"{name} near key", png(drawn, depth, colour, key(drawn, colour, 1), laced=laced)
