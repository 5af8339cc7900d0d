"""The command line's client, over a connection that breaks when it hurts most."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from certification.contract.store.broker import connect
from certification.contract.store.jobs import JobStore
from certification.errors import Failure
from service.app import create_app
from service.settings import Settings
from smoothcert.broker import free_port
from smoothcert.client import ServiceClient
from tests.acceptance.visit import Server
from tests.smoothcert.conftest import DATA

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
def service(redis_url: str, models: Path) -> Iterator[int]:
    port = free_port()
    app = create_app(Settings(redis_url=redis_url, models=models))
    with Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)):
        yield port


@pytest.mark.parametrize(
    ("ask", "jobs"),
    [
        (lambda client: client.submit(*IMAGES[0], FIELDS), 1),
        (lambda client: client.submit_batch(IMAGES, FIELDS), 3),
    ],
    ids=["one image", "a batch"],
)
def test_a_submission_whose_answer_was_lost_is_asked_again_and_made_once(
    service: int, redis_url: str, ask: Callable[[ServiceClient], object], jobs: int
) -> None:
    between = Forgetful(service, losses=2)
    between.start()
    with ServiceClient(between.url) as client:
        ask(client)
    between.listener.close()
    assert between.losses < 0, "the answer got through in the end"
    assert len(JobStore(connect(redis_url)).page().jobs) == jobs


def test_a_service_that_was_never_there_is_not_asked_for_long() -> None:
    with (
        ServiceClient(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(Failure, match="smoothcert up"),
    ):
        client.submit(*IMAGES[0], FIELDS)
