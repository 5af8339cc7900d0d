"""Small files that want much work. What is merely no picture is in tests/service/test_corpus.py."""

import io
import struct
import time
import zlib

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from smoothcert.images.decode import MAX_SCANS

MOST = 3.0  # seconds of processor time; each took from eight seconds to hours where nothing stopped it
SIDE = 4096
SCAN = b"\xff\xda"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def progressive(scans: int) -> bytes:
    """A JPEG whose last scan, of 56 bytes, comes again and again: each is a pass over 16 million pixels."""
    out = io.BytesIO()
    Image.new("L", (SIDE, SIDE), 128).save(out, "JPEG", progressive=True, quality=50)
    data = out.getvalue()
    end = data.rfind(b"\xff\xd9")
    last = data[data.rfind(b"\xff\xc4", 0, data.rfind(SCAN)) : end]
    return data[:end] + last * (scans - data.count(SCAN)) + data[end:]


def run_lengths() -> bytes:
    """A BMP of 17 kB in which each row is one pixel and `end of line`."""
    rows = b"\x01\x07\0\0" * SIDE + b"\0\1"
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, len(rows), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


BOMBS = {
    "a jpeg of 150 000 scans": progressive(150_000),
    "a bmp of runs": run_lengths(),
    "a text that unpacks to 2 GB": png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**7)) * 200)),
    "a text that unpacks to 20 MB": png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 * 10**7)))),
    "a colour profile that unpacks to 20 MB": png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2 * 10**7)))),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_small_file_gets_little_work(client: TestClient, what: str) -> None:
    assert len(BOMBS[what]) < 10_000_000
    start = time.process_time()
    answer = client.post("/certify", files={"image": BOMBS[what]})
    assert time.process_time() - start < MOST
    assert answer.status_code in {202, 415}, answer.text


def test_as_many_scans_as_cameras_make_are_taken(client: TestClient) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "JPEG", progressive=True)
    assert 5 < out.getvalue().count(SCAN) < MAX_SCANS // 2
    assert client.post("/certify", files={"image": out.getvalue()}).status_code == 202


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\r\nX-Evil: 1", "<img src=x onerror=alert(1)>", "x" * 500]
)
def test_the_name_of_a_file_goes_nowhere(client: TestClient, digit: bytes, name: str) -> None:
    answer = client.post("/certify", files={"image": (name, digit, "text/html")})
    assert answer.status_code == 202
    assert "evil" not in str(answer.headers).lower()
    shown = client.get(answer.json()["links"]["input"])
    assert shown.headers["content-type"] == "image/png"
    assert not {"onerror", "passwd", "xxxxx"} & set(client.get(answer.headers["location"]).text.split())
