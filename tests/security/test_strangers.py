"""What somebody can do who reaches the port and knows nothing: exhaust, inject, guess, listen."""

import hmac
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient

from smoothcert.cli.processes import Broker, free_port
from smoothcert.schemas.api_keys import Keyring, draw
from tests.conftest import fresh_database
from tests.security.conftest import Open
from tests.service.shelf import MODEL, write_model
from tests.service.worker import StandInWorker
from tests.worker.plant import eventually

LUA = [
    "\"); redis.call('FLUSHALL') --",
    "']] os.exit() --",
    "{smoothcert}:job:x",
    "a\0b",
    "*",
    "a:b",
    "é\r\nx",
    "x" * 5000,
]
SECRET = draw("ann")


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "1e99", "3601", "0x10", "9" * 5000])
def test_an_impossible_wait_is_refused(client: TestClient, post: Callable[..., dict], wait: str) -> None:
    assert client.get(post()["links"]["self"], params={"wait": wait}).status_code == 422


def test_a_huge_wait_is_cut_to_what_the_operator_allows(open_service: Open, digit: bytes) -> None:
    client = open_service(max_wait=0.2)
    job = client.post("/certify", files={"image": digit}).json()
    start = time.monotonic()
    assert client.get(job["links"]["self"], params={"wait": 3600}).status_code == 200
    assert time.monotonic() - start < 5


def test_waiting_clients_over_the_limit_get_503_and_other_requests_are_served(
    open_service: Open, worker: StandInWorker, digit: bytes
) -> None:
    client = open_service(max_watching=2)
    job = client.post("/certify", files={"image": digit}).json()
    links = job["links"]
    asks = [(links["events"], {}), (links["self"], {"wait": 20})]
    threads = [
        threading.Thread(target=client.get, args=(path,), kwargs={"params": ask}) for path, ask in asks
    ]
    for thread in threads:
        thread.start()
    concurrency = client.app_state["service"].concurrency
    while concurrency.free:
        time.sleep(0.01)
    for path, ask in asks:
        refused = client.get(path, params=ask)
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["retry-after"]) >= 1
    assert client.get(links["self"]).status_code == 200
    worker.finish(worker.begin(job["id"]))
    for thread in threads:
        thread.join()
    assert client.get(links["self"], params={"wait": 20}).json()["status"] == "succeeded"
    assert client.get(links["events"]).status_code == 200
    assert concurrency.free == 2


def test_words_that_are_no_methods_do_not_grow_the_metrics(client: TestClient) -> None:
    client.get("/metrics")
    for i in range(20):
        client.request(f"X{i}", f"/nowhere/{i}")
    text = client.get("/metrics").text
    assert 'method="other",route="none",status="404"} 20.0' in text
    assert "X1" not in text


@pytest.fixture
def records(redis_url: str, post: Callable[..., dict]) -> Iterator[redis.Redis]:
    """A store in which one job waits; afterwards it must still be alone, and as it was."""
    job = post()
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.keys("{smoothcert}*")), client.hgetall(f"{{smoothcert}}:job:{job['id']}")
        yield client
        assert (
            set(client.keys("{smoothcert}*")),
            client.hgetall(f"{{smoothcert}}:job:{job['id']}"),
        ) == before


@pytest.mark.parametrize("text", LUA)
def test_no_parameter_reaches_the_scripts_as_code_or_as_another_key(
    client: TestClient, records: redis.Redis, digit: bytes, text: str
) -> None:
    quoted = urllib.request.quote(text, safe="")
    for path in (
        f"/jobs/{quoted}",
        f"/jobs/{quoted}/events",
        f"/jobs/{quoted}/input.png",
        f"/batches/{quoted}",
    ):
        assert client.get(path).status_code == 404, path
    assert client.post(f"/jobs/{quoted}/cancel").status_code == 404
    for field in ("model", "n", "alpha", "procedure", "target_radius"):
        assert client.post("/certify", files={"image": digit}, data={field: text}).status_code == 422
    assert client.get("/jobs", params={"cursor": text}).status_code == 422
    assert client.get("/jobs", params={"cursor": "9" * 20}).status_code == 200


def test_an_idempotency_key_of_any_bytes_is_only_a_digest(
    client: TestClient, digit: bytes, redis_url: str
) -> None:
    for text in LUA[:6]:
        headers = [(b"Idempotency-Key", text.encode().replace(b"\0", b"").replace(b"\r\n", b""))]
        assert client.post("/certify", files={"image": digit}, headers=headers).status_code == 202
    with redis.Redis.from_url(redis_url) as broker:
        assert not [key for key in broker.scan_iter() if b"FLUSHALL" in key or b"os.exit" in key]
        assert len(client.get("/jobs").json()["jobs"]) == 6


def test_a_form_of_a_thousand_fields_or_files_is_refused(client: TestClient, digit: bytes) -> None:
    assert (
        client.post("/certify", files={"image": digit}, data={f"a{i}": "1" for i in range(2000)}).status_code
        == 400
    )
    assert client.post("/certify", files=[("image", digit)] * 1500).status_code == 400
    assert client.post("/certify", files={"image": digit}, data={"n": "9" * 2_000_000}).status_code == 400


def test_every_key_is_compared_once_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work for a wrong secret, an unknown id and no key at all: time tells nothing of either."""
    compared: list[tuple[int, int]] = []

    def counting(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return same(a, b)

    same = hmac.compare_digest
    monkeypatch.setattr("smoothcert.schemas.api_keys.hmac.compare_digest", counting)
    ring = Keyring(keys=(SECRET.record,))
    wrong = SECRET.text[:-4] + "AAAA"
    found = [ring.find(text) for text in (SECRET.text, wrong, draw("bob").text, "", "x")]
    assert found == [SECRET.record, None, None, None, None]
    assert compared == [(64, 64)] * 5


@pytest.fixture(scope="module")
def loud(valkey: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real service that logs all it can, its address and its log; it wants keys."""
    folder, port = tmp_path_factory.mktemp("loud"), free_port()
    keys, log = folder / "keys.json", folder / "log"
    Keyring(keys=(SECRET.record,)).write(keys)
    write_model(folder / "models", MODEL)
    said = {"REDIS_URL": fresh_database(valkey), "MODELS": str(folder / "models"), "API_KEYS": str(keys)}
    said |= {"LOG_LEVEL": "DEBUG"}
    environment = os.environ | {f"SMOOTHCERT_{name}": value for name, value in said.items()}
    with log.open("wb") as out:
        command = [sys.executable, "-m", "service", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stderr=out, stdout=out)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}", log
    process.kill()
    process.wait()


def ask(url: str, headers: dict[str, str], data: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, str(answer.headers) + answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(error.headers) + error.read().decode(errors="replace")


def raw(url: str, request: bytes) -> bytes:
    """What a request that no client library would send is answered."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(request)
        connection.settimeout(5)
        return connection.recv(200)


def test_a_key_is_in_no_log_line_no_metric_and_no_answer(loud: tuple[str, Path]) -> None:
    url, log = loud
    key = SECRET.text
    said = []
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": key},
        {"Authorization": f"Bearer {key}x"},
    ):
        said += [ask(f"{url}{path}", headers) for path in ("/jobs", "/jobs/x", "/nowhere", "/jobs?cursor=x")]
        said.append(ask(f"{url}/certify", headers, b"no form"))
    said += [ask(f"{url}/jobs?api_key={key}", {}), ask(f"{url}/metrics", {})]
    assert {status for status, _ in said} == {200, 400, 401, 404, 422}
    lines = eventually(lambda: text if (text := log.read_text()).count("answered") >= len(said) else None)
    secret = key.split("_", 2)[2]
    assert secret not in "".join(text for _, text in said) + lines
    assert all(json.loads(line) for line in lines.splitlines())


def test_a_line_break_in_a_path_makes_no_second_log_line(loud: tuple[str, Path]) -> None:
    url, log = loud
    ask(f"{url}/x%0a%7b%22event%22:%22forged%22%7d%1b[2J", {})
    (line,) = eventually(lambda: [line for line in log.read_text().splitlines() if "forged" in line])
    assert json.loads(line)["path"] == "/x%0A%7B%22event%22%3A%22forged%22%7D%1B%5B2J"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /certify HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /certify HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /certify HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /jobs HTTP/1.1\r\nHost: a\r\nA: b\nX-Evil: 1\r\n\r\n",
    ],
    ids=["endless length", "negative length", "two lengths", "bare line feed"],
)
def test_a_malformed_request_is_refused_and_the_service_goes_on(
    loud: tuple[str, Path], request_: bytes
) -> None:
    url, _ = loud
    assert raw(url, request_)[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 413"}
    assert ask(f"{url}/health/live", {})[0] == 200


@pytest.mark.parametrize(
    "start",
    [
        b"GET /health/live HTTP/1.1\r\nHost: a\r\n",
        b"POST /certify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ],
    ids=["headers", "trailers"],
)
def test_headers_without_end_are_cut_off(loud: tuple[str, Path], start: bytes) -> None:
    url, _ = loud
    host, _, port = url.removeprefix("http://").partition(":")
    lines = b"X-More: 0123456789\r\n" * 1_000_000  # 20 MB
    with socket.create_connection((host, int(port)), 5) as connection, pytest.raises(ConnectionError):
        connection.sendall(start + lines)
    assert ask(f"{url}/health/live", {"X-Long": "a" * 8000})[0] == 200
