"""The client, over a connection that breaks when it hurts most."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn

import smoothcert
from service.app import create_app
from service.settings import Settings
from smoothcert.cli.certify import RemoteCertifier
from smoothcert.cli.processes import free_port
from smoothcert.client import Client, JobTimeout, RequestRefused
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import JobStore
from tests.acceptance.visit import Server
from tests.service.shelf import MODEL, write_model
from tests.service.worker import StandInWorker

DATA = Path(__file__).parent / "data"
PIXELS = np.zeros((28, 28), np.uint8)
IMAGES = [(f"digit-{k}.png", (DATA / f"digit-{k}.png").read_bytes()) for k in range(3)]
FIELDS = {"n": "1000"}


class Forgetful(threading.Thread):
    """Passes requests on, one a connection, but hangs up instead of passing on the first answers."""

    def __init__(self, port: int, losses: int) -> None:
        super().__init__(daemon=True)
        self.port, self.losses = port, losses
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            with caller, socket.create_connection(("127.0.0.1", self.port)) as service:
                onwards = threading.Thread(target=self._pass, args=(caller, service), daemon=True)
                onwards.start()
                while answer := service.recv(65536):
                    self.losses -= 1
                    if self.losses >= 0:
                        break
                    caller.sendall(answer)
                caller.shutdown(socket.SHUT_RDWR)
                onwards.join()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while said := source.recv(65536):
                target.sendall(said)
        except OSError:
            return


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    write_model(tmp_path / "models", MODEL)
    app = create_app(Settings(redis_url=redis_url, models=tmp_path / "models"))
    with Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)):
        yield port


@pytest.mark.parametrize(
    ("ask", "jobs"),
    [
        (lambda client: client.submit_file(*IMAGES[0], FIELDS), 1),
        (lambda client: client.submit_batch(IMAGES, FIELDS), 3),
    ],
    ids=["one image", "a batch"],
)
def test_a_submission_whose_answer_was_lost_is_asked_again_and_made_once(
    service: int, redis_url: str, ask: Callable[[Client], object], jobs: int
) -> None:
    between = Forgetful(service, losses=2)
    between.start()
    with Client(between.url) as client:
        ask(client)
    between.listener.close()
    assert between.losses < 0, "the answer got through in the end"
    assert len(JobStore(connect(redis_url)).page().jobs) == jobs


def test_a_service_that_was_never_there_is_not_asked_for_long() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(InternalError, match="smoothcert up"),
    ):
        client.submit_file(*IMAGES[0], FIELDS)


PROXIES = {
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "SSL_CERT_FILE": "/no/such.pem",
}


def test_no_proxy_is_asked_for_this_machine_and_any_file_name_is_sent(
    service: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    picture = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    picture.write_bytes(IMAGES[0][1])
    for host in ("127.0.0.1", "localhost"):
        with Client(f"http://{host}:{service}") as client:
            submitted = next(RemoteCertifier(client, FIELDS).one(picture))
        assert submitted is not None


@pytest.mark.parametrize(
    ("url", "variables", "complaint"),
    [
        ("http://service.invalid", {"ALL_PROXY": "socks5://127.0.0.1:1"}, "a SOCKS proxy"),
        ("http://service.invalid", {"HTTP_PROXY": "ftp://127.0.0.1:1"}, "A proxy of the environment"),
        ("https://service.invalid", {"SSL_CERT_FILE": "/no/such.pem"}, "SSL_CERT_FILE=/no/such.pem holds no"),
        ("http://\udcff", {}, "is no address"),
    ],
)
def test_what_the_environment_says_of_the_way_is_named_where_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], complaint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidRequest, match=complaint):
        Client(url)


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidRequest, match="SMOOTHCERT_API_KEY") as refused:
        Client("http://127.0.0.1:1", "swordfish\n")
    assert "swordfish" not in str(refused.value)


@pytest.fixture
def certifying(service: int, redis_url: str) -> Iterator[str]:
    """The address of a service whose jobs are certified, with a radius of 1.5, one after the other."""
    worker, ended = StandInWorker(redis_url), threading.Event()
    store = JobStore(connect(redis_url))

    def work() -> None:
        while not ended.wait(0.02):
            for job in store.page().jobs:
                if job.status == "queued" and job.parameters.n == 1000:
                    worker.finish(worker.begin(job.id))

    thread = threading.Thread(target=work)
    thread.start()
    yield f"http://127.0.0.1:{service}"
    ended.set()
    thread.join()


@pytest.mark.parametrize("image", [DATA / "digit-7.png", str(DATA / "digit-7.png"), IMAGES[0][1], PIXELS])
def test_a_job_is_submitted_awaited_and_read(certifying: str, image: object) -> None:
    with smoothcert.Client(certifying) as client:
        job = client.submit(image, n=1000, target_radius=None)
        assert job.wait(timeout=20).ended
        assert job.certificate.radius == 1.5
        assert [snapshot.status for snapshot in job.events()] == ["succeeded"]
        assert client.job(job.id).certificate == job.certificate
        assert [card.name for card in client.models()]


def test_an_unfinished_job_says_so_and_can_be_cancelled(certifying: str) -> None:
    with smoothcert.Client(certifying) as client:
        job = client.submit(DATA / "digit-7.png", n=999)
        with pytest.raises(JobTimeout, match="still queued") as late:
            job.wait(timeout=0.3)
        assert isinstance(late.value, TimeoutError)
        with pytest.raises(JobTimeout, match="call wait"):
            _ = job.certificate
        job.cancel()
        assert job.status == "cancelled"
        with pytest.raises(smoothcert.JobFailed, match="cancelled before anything was proved"):
            _ = job.certificate


def test_what_the_service_refuses_is_a_typed_error(certifying: str) -> None:
    with smoothcert.Client(certifying) as client:
        with pytest.raises(RequestRefused, match="n: ") as refused:
            client.submit(DATA / "digit-7.png", n=0)
        assert refused.value.problem.status == 422
        assert isinstance(refused.value, ValueError)
        with pytest.raises(RequestRefused, match="415"):
            client.submit(b"no picture")
        with pytest.raises(InvalidRequest, match="can't be read"):
            client.submit("nothing.png")
        with pytest.raises(RequestRefused, match="404"):
            client.job("nothing")


def test_the_asynchronous_client_does_the_same(certifying: str) -> None:
    async def certify() -> list[str]:
        async with smoothcert.AsyncClient(certifying) as client:
            job = await client.submit(DATA / "digit-7.png", n=1000)
            await job.wait(timeout=20)
            assert job.certificate.radius == 1.5
            assert (await client.job(job.id)).ended
            assert await client.models()
            other = await client.submit(PIXELS, n=999)
            with pytest.raises(JobTimeout):
                await other.wait(timeout=0.1)
            await other.cancel()
            return [snapshot.status async for snapshot in other.events()]

    assert asyncio.run(certify()) == ["cancelled"]
