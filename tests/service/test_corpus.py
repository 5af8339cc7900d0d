"""Files nobody should trust, through POST /certify: each gets its documented answer (decision 0005)."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

DATA = Path(__file__).parents[1] / "data"
DIGIT = (DATA / "digit-7.png").read_bytes()


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def picture(mode: str = "RGB", side: int = 28) -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb() -> bytes:
    """Some 60 bytes that claim 50 000 x 50 000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(), "JPEG", exif=exif)


def see_through() -> bytes:
    return encode(picture("P"), transparency=0)


def animation() -> bytes:
    return encode(picture(), "GIF", save_all=True, append_images=[picture("L").convert("RGB")])


REFUSED = {
    "zero bytes": b"",
    "truncated": DIGIT[: len(DIGIT) // 2],
    "wrong magic": b"\x00" + DIGIT[1:],
    "text": b"not an image",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "tiff, which is not taken": encode(picture(), "TIFF"),
    "decompression bomb": bomb(),
    "animation": animation(),
}
TAKEN = {
    "bit for bit": (DIGIT, "decoded from PNG, 28x28"),
    "cmyk": (encode(picture("CMYK"), "JPEG"), "CMYK"),
    "16 bits": (encode(Image.fromarray(np.full((28, 28), 40_000, np.uint16))), "16"),
    "palette with transparency": (see_through(), "white"),
    "turned by exif": (rotated(), "EXIF"),
    "one pixel": (encode(picture(side=1)), "1x1"),
    "a picture with a page behind it": (DIGIT + b"<script>alert(1)</script>", "decoded from PNG"),
    "webp": (encode(picture(), "WEBP"), "WEBP"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_picture_we_take_is_415_and_says_why(client: TestClient, what: str) -> None:
    answer = client.post("/certify", files={"image": ("digit.png", REFUSED[what], "image/png")})
    assert answer.status_code == 415, answer.text
    assert len(answer.json()["detail"]) > 20
    assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken_becomes_clean_pixels_and_says_how(client: TestClient, what: str) -> None:
    data, note = TAKEN[what]
    job = client.post("/certify", files={"image": data}).json()
    image = client.app_state["service"].store.image(job["id"])
    assert image is not None
    assert note in "; ".join(image.digest.preprocessing)
    png = client.get(job["links"]["input"]).content
    assert Image.open(io.BytesIO(png)).size == (28, 28)
    assert b"script" not in png
