import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from smoothcert.cli.processes import Broker, free_port
from tests.conftest import fresh_database
from tests.service.shelf import MODEL, write_model
from tests.service.test_corpus import DIGIT, REFUSED, TAKEN, encode


@pytest.fixture
def server(redis_url: str, models: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    with serving(redis_url, models) as started:
        yield started


@contextmanager
def serving(redis_url: str, models: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`python -m service` and its address."""
    port = free_port()
    environment = os.environ | {"SMOOTHCERT_REDIS_URL": redis_url, "SMOOTHCERT_MODELS": str(models)}
    process = subprocess.Popen([sys.executable, "-m", "service", "--port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/health/live", timeout=1)
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    try:
        yield process, url
    finally:
        process.kill()
        process.wait()


def test_hostile_files_cost_little_memory(
    server: tuple["subprocess.Popen[bytes]", str],
) -> None:
    process, url = server
    with httpx.Client(base_url=url, timeout=60) as client:
        for data in (DIGIT, DIGIT):  # what the first upload loads stays
            client.post("/certify", files={"image": data})
        before = peak(process)
        for data in (*REFUSED.values(), *(data for data, _ in TAKEN.values())):
            client.post("/certify", files={"image": data})
        grown = peak(process) - before
        print(f"the corpus: {grown:.0f} MB")
        assert grown < 32
        assert client.post("/certify", files={"image": largest()}).status_code == 202
        grown = peak(process) - before
        print(f"with the largest picture that is taken: {grown:.0f} MB")
        assert grown < 400


def peak(process: "subprocess.Popen[bytes]") -> float:
    """The most memory it ever had resident, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return float(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


def largest() -> bytes:
    return encode(Image.new("RGBA", (8192, 6144)))


def test_sigterm_ends_event_streams_and_the_service_within_two_seconds(
    server: tuple["subprocess.Popen[bytes]", str], client: TestClient, digit: bytes
) -> None:
    process, url = server
    job = client.post("/certify", files={"image": digit}).json()
    with urllib.request.urlopen(url + job["links"]["events"], timeout=20) as stream:
        assert stream.readline() == b"event: job\n"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = stream.read().decode()
    assert json.loads(rest.splitlines()[0].removeprefix("data: "))["status"] == "queued"
    process.wait(timeout=10)
    assert time.monotonic() - start < 2


DATA = Path(__file__).parents[1] / "data"
SEVEN = (DATA / "digit-7.png").read_bytes()
BODY = (
    b'--cut\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + SEVEN + b"\r\n"
    b'--cut\r\nContent-Disposition: form-data; name="n"\r\n\r\n1000\r\n--cut--\r\n'
)

H2C = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA"]
OFFERS = {
    "as Java's HttpClient": H2C,
    "as Ktor": [b"connection: upgrade, keep-alive", b"upgrade: h2c"],
    "h2c among others": [b"Connection: Upgrade", b"Upgrade: h2c, h2"],
    "TLS": [b"Connection: Upgrade", b"Upgrade: TLS/1.3"],
    "a WebSocket": [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ],
    "no offer": [],
}


@pytest.fixture(scope="module")
def url(valkey: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    write_model(models, MODEL)
    with serving(fresh_database(valkey), models) as (_, url):
        yield url


def ask(url: str, *pieces: bytes) -> bytes:
    """All that a server says to these bytes, sent one after the other, until it has nothing more to say."""
    host, _, port = url.removeprefix("http://").partition(":")
    said = b""
    with socket.create_connection((host, int(port)), 10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        while more := connection.recv(65536):
            said += more
    return said


def head(*lines: bytes, method: bytes = b"POST /certify") -> bytes:
    return b"\r\n".join([method + b" HTTP/1.1", b"Host: localhost", *lines, b"\r\n"])


FORM = b"Content-Type: multipart/form-data; boundary=cut"
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_to_upgrade_leaves_the_body_alone(url: str, offer: str) -> None:
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    last = head(b"Connection: close", method=b"GET /health/live")
    for request in (
        [head(FORM, LENGTH, *OFFERS[offer]) + BODY, last],
        [head(FORM, LENGTH, *OFFERS[offer]), BODY[:300], BODY[300:], last],
        [head(FORM, CHUNKED, *OFFERS[offer]), chunk, last],
    ):
        answers = re.findall(rb"HTTP/1.1 (\d+)", ask(url, *request))
        assert answers == [b"202", b"200"]
    said = ask(url, head(*OFFERS[offer], method=b"GET /models"), last)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"200"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_may_offer_http_2(url: str) -> None:
    for options in (["--http2"], ["--http2", "-H", "Expect: 100-continue"], ["--http1.0"]):
        command = ["curl", "-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", *options]
        form = ["-F", f"image=@{DATA / 'digit-7.png'}", "-F", "n=1000", f"{url}/certify"]
        assert subprocess.run([*command, *form], capture_output=True, check=True).stdout == b"202"


JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.*;
public class Post { public static void main(String[] a) throws Exception {
  var here = URI.create(a[0] + "/certify?n=1000");
  var request = HttpRequest.newBuilder(here).header("Content-Type", "image/png")
    .POST(HttpRequest.BodyPublishers.ofFile(Path.of(a[1]))).build();
  var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
  System.out.print(answer.statusCode());
} }
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a Java compiler")
def test_javas_own_client_can_post(url: str, tmp_path: Path) -> None:
    (tmp_path / "Post.java").write_text(JAVA)
    command = ["java", str(tmp_path / "Post.java"), url, str(DATA / "digit-7.png")]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    assert done.stdout == "202"


def test_a_body_longer_than_its_length_is_no_longer_body(url: str) -> None:
    short = b"Content-Length: %d" % (len(BODY) - 20)
    said = ask(url, head(FORM, short, b"Connection: close") + BODY)
    assert said.startswith(b"HTTP/1.1 400")
    assert b"closing boundary" in said


def test_a_connection_that_ends_before_its_body_makes_no_job(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")

    def jobs() -> bytes:
        return ask(url, head(b"Connection: close", method=b"GET /jobs?limit=100")).partition(b"\r\n\r\n")[2]

    before = jobs()
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head(FORM, LENGTH) + BODY[:-20])
    assert jobs() == before
