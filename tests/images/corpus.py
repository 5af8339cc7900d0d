"""Picture files made by hand: ways to store pixels that browsers show, and what stands beside the pixels."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.images.bmps import bmps
from tests.images.pngs import SIDE, chunk, key, palette, png, pngs, samples


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], clear: int | None = None) -> bytes:
    """One frame somewhere on a screen, of four colours and uncompressed codes."""
    left, top, width, height = frame
    head = (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0b10000001, 1, 0)
        + bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    )
    control = b"" if clear is None else b"\x21\xf9\x04\x01\0\0" + bytes([clear]) + b"\0"
    descriptor = b"\x2c" + struct.pack("<HHHHB", left, top, width, height, 0)
    bits: list[int] = []
    for i in range(width * height):  # a clear code before each pixel keeps the codes three bits wide
        bits += [0, 0, 1] + [int(bit) for bit in f"{i % 4:03b}"[::-1]]
    bits += [1, 0, 1]
    bits += [0] * (-len(bits) % 8)
    data = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return head + control + descriptor + b"\x02" + blocks + b"\0\x3b"


def gifs() -> Iterator[tuple[str, bytes]]:
    yield "gif", gif((SIDE, SIDE), (0, 0, SIDE, SIDE))
    yield "gif clear", gif((SIDE, SIDE), (0, 0, SIDE, SIDE), 2)
    yield "gif part of its screen", gif((SIDE, SIDE), (2, 1, 4, 5))
    yield "gif part of its screen clear", gif((SIDE, SIDE), (2, 1, 4, 5), 2)
    yield "gif beyond its screen", gif((SIDE, SIDE), (4, 4, 8, 8))


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + struct.pack(f"{order}I", 0)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


def photo(height: int = 16, width: int = 24, mode: str = "RGB") -> Image.Image:
    """A picture of smooth colours, so that lossy formats keep it."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    return Image.fromarray(np.stack(planes, 2).astype(np.uint8)).convert(mode)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def turned() -> Iterator[tuple[str, bytes]]:
    jpeg = encoded(photo(), "JPEG", quality=95, subsampling=0)
    for order in "<>":
        for orientation in range(10):
            app1 = segment(0xE1, b"Exif\0\0" + exif(orientation, order))
            yield f"jpeg exif {orientation} {order}", with_segments(jpeg, app1)
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    yield "jpeg xmp", with_segments(jpeg, xmp)
    yield "jpeg two exif", with_segments(jpeg, *(segment(0xE1, b"Exif\0\0" + exif(i)) for i in (6, 3)))
    yield "jpeg xmp and exif", with_segments(jpeg, xmp, segment(0xE1, b"Exif\0\0" + exif(3)))
    yield "jpeg garbage exif", with_segments(jpeg, segment(0xE1, b"Exif\0\0" + b"\xff" * 100))
    yield (
        "jpeg exif long type",
        with_segments(
            jpeg, segment(0xE1, b"Exif\0\0" + exif(6).replace(b"\x12\x01\x03\0", b"\x12\x01\x04\0"))
        ),
    )
    drawn = np.asarray(photo())
    yield "png exif", png(drawn, 8, 2, chunk(b"eXIf", exif(6)))
    body = encoded(photo(), "PNG")
    yield "png exif behind", body[:-12] + chunk(b"eXIf", exif(6)) + body[-12:]
    yield "png xmp", png(drawn, 8, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    raw = b"\nexif\n      %d\n%s\n" % (len(exif(6)) + 6, (b"Exif\0\0" + exif(6)).hex().encode())
    yield (
        "png raw profile",
        png(drawn, 8, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))),
    )
    for lossless in (True, False):
        name = "lossless" if lossless else "lossy"
        yield f"webp {name} exif", encoded(photo(), "WEBP", lossless=lossless, quality=95, exif=exif(6))
        yield (
            f"webp {name} exif long",
            encoded(photo(), "WEBP", lossless=lossless, quality=95, exif=b"Exif\0\0" + exif(6)),
        )
        yield f"webp {name} xmp", encoded(photo(), "WEBP", lossless=lossless, quality=95, xmp=XMP)


def others() -> Iterator[tuple[str, bytes]]:
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            for subsampling in (0, 2) if mode == "RGB" else (0,):
                data = encoded(
                    photo(mode=mode), "JPEG", quality=95, subsampling=subsampling, progressive=progressive
                )
                yield f"jpeg {mode} {progressive} {subsampling}", data
    clear = photo()
    clear.putalpha(Image.fromarray(np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)))
    yield "webp lossless alpha", encoded(clear, "WEBP", lossless=True, exact=True)
    yield "webp alpha", encoded(clear, "WEBP", quality=95)
    yield "webp", encoded(photo(), "WEBP", quality=95)
    drawn = samples(8, 2)
    yield "png srgb", png(drawn, 8, 2, chunk(b"sRGB", b"\0"))
    yield "png gamma of srgb", png(drawn, 8, 2, chunk(b"gAMA", struct.pack(">I", 45455)))
    yield "png gamma 1", png(drawn, 8, 2, chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "png background", png(samples(8, 6), 8, 6, chunk(b"bKGD", struct.pack(">HHH", 255, 0, 0)))
    yield "png sbit", png(drawn, 8, 2, chunk(b"sBIT", b"\5\5\5"))


def odd() -> Iterator[tuple[str, bytes]]:
    """What encoders write all the same."""
    drawn, indices = samples(8, 2), samples(2, 3)
    plte, grey = palette(2), samples(8, 0)
    yield "png key too large", png(drawn, 8, 2, chunk(b"tRNS", key(drawn, 2)[8:-4].replace(b"\0", b"\7")))
    yield "png key of grey too large", png(samples(2, 0), 2, 0, chunk(b"tRNS", b"\0\6"))
    yield "png key too short", png(drawn, 8, 2, chunk(b"tRNS", b"\0\0"))
    yield "png two keys", png(grey, 8, 0, key(grey, 0), chunk(b"tRNS", struct.pack(">H", int(grey[3, 3, 0]))))
    yield "png key beside alpha", png(samples(8, 6), 8, 6, chunk(b"tRNS", b"\0\1\0\2\0\3"))
    yield "png alphas before the palette", png(indices, 2, 3, chunk(b"tRNS", b"\0\x80"), plte)
    yield "png more alphas than colours", png(indices, 2, 3, plte, chunk(b"tRNS", bytes(9)))
    yield (
        "png alphas behind",
        png(indices, 2, 3, plte).replace(chunk(b"IEND", b""), chunk(b"tRNS", b"\0\0") + chunk(b"IEND", b"")),
    )
    yield "png few colours", png(indices, 2, 3, chunk(b"PLTE", bytes(range(100, 109))))
    yield "png palette of hints", png(drawn, 8, 2, palette(4))
    control = struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 10, 0, 0)
    still = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", control)
    yield "png animation of one frame", png(drawn, 8, 2, still)
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))
    yield "png long text", png(drawn, 8, 2, text)
    yield "png long profile", png(drawn, 8, 2, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2_000_000))))
    yield (
        "png garbage beside",
        png(drawn, 8, 2, *(chunk(kind, b"\xff\0") for kind in (b"iCCP", b"pHYs", b"tEXt", b"eXIf"))),
    )
    broken = bytearray(chunk(b"tEXt", b"a\0b"))
    broken[-1] ^= 1
    yield "png wrong sum beside", png(drawn, 8, 2, bytes(broken))
    yield "png something behind", png(drawn, 8, 2) + b"x" * 1000
    jpeg = encoded(photo(), "JPEG", quality=95, subsampling=0)
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * 1000 + b"\xff\xd9"
    yield "jpeg motion photo", jpeg + video
    preview = encoded(photo(2, 3), "JPEG")
    yield (
        "jpeg previews",
        with_segments(jpeg, *(segment(0xE1, b"Exif\0\0" + exif(1) + preview) for _ in range(120))),
    )
    yield (
        "jpeg long profile",
        with_segments(
            jpeg, *(segment(0xE2, b"ICC_PROFILE\0%c%c" % (i, 30) + bytes(60_000)) for i in range(1, 31))
        ),
    )
    yield (
        "jpeg garbage beside",
        with_segments(jpeg, *(segment(0xE0 + i, b"\xff" * 40) for i in (1, 2, 3, 13, 15))),
    )
    yield "jpeg comments", with_segments(jpeg, *(segment(0xFE, bytes(60_000)) for _ in range(20)))
    yield "jpeg fill", jpeg[:2] + b"\xff" * 20 + jpeg[2:]
    mpo = encoded(photo(), "MPO", quality=95, save_all=True, append_images=[photo(8, 12)])
    yield "jpeg with a preview", mpo
    yield "gif 87", gif((SIDE, SIDE), (0, 0, SIDE, SIDE)).replace(b"GIF89a", b"GIF87a")
    yield "gif comment", gif((SIDE, SIDE), (0, 0, SIDE, SIDE)).replace(b"\x2c", b"\x21\xfe\x03abc\0\x2c", 1)


def corpus() -> dict[str, bytes]:
    return dict([*pngs(), *bmps(), *gifs(), *turned(), *others(), *odd()])
