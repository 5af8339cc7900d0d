"""The broker behind a password, rules and TLS; and what a neighbour does who got in all the same."""

import json
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import Broker
from smoothcert.errors import BadKeyFile, BrokerUnavailable
from smoothcert.jobs.broker import broker_url, connect
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.tasks import TASK, Message, TaskPublisher
from smoothcert.schemas.certificate import PublicKeys
from smoothcert.signing import Signer, signature_problem
from tests.security.tls import HOST, tls_before
from tests.service.worker import StandInWorker, certificate, progress
from tests.worker.conftest import plant, write_model
from tests.worker.plant import MODEL, Plant, eventually

__all__ = ["plant"]

RULES = Path(__file__).parents[2] / "deploy" / "users.acl.example"
PASSWORD = "p@ss:w/rd %?#"


@dataclass(frozen=True)
class Guarded:
    """A broker that wants TLS, a user and a password. trust: the certificate to check it by."""

    url: str
    plain: str
    password: Path
    trust: Path

    @property
    def full(self) -> str:
        return broker_url(self.url, self.password)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "password").write_text(f"{PASSWORD}\n")
    with Broker.start(folder, "--appendfsync", "no") as broker:
        port = int(broker.url.rpartition(":")[2].partition("/")[0])
        with redis.Redis.from_url(broker.url) as admin:
            for line in reversed(RULES.read_text().splitlines()):
                _, user, *rules = line.replace("CHANGE-ME", PASSWORD.replace(" ", "\0")).split()
                admin.execute_command("ACL", "SETUSER", user, *[rule.replace("\0", " ") for rule in rules])
        with tls_before(port, folder) as (tls, trust):
            address = f"smoothcert@{HOST}"
            yield Guarded(
                f"rediss://{address}:{tls}/0?ssl_ca_certs={trust}",
                f"redis://{address}:{port}/0",
                folder / "password",
                trust,
            )


def test_service_and_worker_work_through_tls_with_a_password_from_a_file(
    guarded: Guarded, tmp_path: Path
) -> None:
    write_model(tmp_path / MODEL)
    password = guarded.password
    with connect(guarded.full) as client:
        plant = Plant(guarded.full, tmp_path, client)
        try:
            worker = plant.launch(
                SMOOTHCERT_REDIS_URL=guarded.url,
                SMOOTHCERT_REDIS_PASSWORD_FILE=password,
                SMOOTHCERT_LOG_LEVEL="DEBUG",
            )
            settings = Settings(redis_url=guarded.url, redis_password_file=password, models=tmp_path)
            with TestClient(create_app(settings)) as service:
                job_id = plant.submit(n=2000)
                assert eventually(lambda: plant.job(job_id).ended, 60)
                assert plant.job(job_id).status == "succeeded"
                assert service.get("/health/ready").status_code == 200
        finally:
            plant.close()
    log = worker.log.read_text()
    assert "begun" in log
    assert "w/rd" not in log
    assert "w%2Frd" not in log


@pytest.mark.parametrize("wrong", ["another password", "no password", "a server nobody vouches for"])
def test_who_has_not_both_password_and_certificate_gets_503(
    guarded: Guarded, models: Path, digit: bytes, tmp_path: Path, wrong: str
) -> None:
    guess = tmp_path / "guess"
    guess.write_text("guess")
    ways = {
        "another password": (guarded.url, guess),
        "no password": (guarded.url, None),
        "a server nobody vouches for": (guarded.url.partition("/0?")[0] + "/1", guarded.password),
    }
    url, file = ways[wrong]
    start = time.monotonic()
    with TestClient(create_app(Settings(redis_url=url, redis_password_file=file, models=models))) as client:
        assert client.post("/certify", files={"image": digit}).status_code == 503
    publisher = TaskPublisher(broker_url(url, file))
    with pytest.raises(BrokerUnavailable):
        publisher.send(Message("some", queue_of(MODEL), 1))
    publisher.close()
    assert time.monotonic() - start < 10


def test_the_rules_keep_our_own_user_from_what_it_never_does(guarded: Guarded) -> None:
    with connect(broker_url(guarded.plain, guarded.password)) as client:
        for command in (
            "FLUSHALL",
            "CONFIG GET *",
            "KEYS *",
            "SHUTDOWN",
            "ACL LIST",
            "MONITOR",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        for key in ("other", "{other}:job:x"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.get(key)
    stranger = redis.Redis.from_url(guarded.plain.replace("smoothcert@", ""))
    with stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(guarded.plain.replace("smoothcert@", "health:any@")) as probe:
        assert probe.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            probe.get("{smoothcert}:job:x")


def test_a_password_file_that_is_missing_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="nowhere"):
        broker_url("redis://localhost", tmp_path / "nowhere")


def test_a_mistyped_address_is_refused_without_showing_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", "redis://:swordfish@host:99999999/0")
    with pytest.raises(ValueError, match="redis_url") as told:
        Settings()
    assert "swordfish" not in str(told.value) + repr(told.value)


def test_a_certificate_forged_in_the_broker_no_longer_verifies(
    client: TestClient, worker: StandInWorker, digit: bytes, redis_url: str
) -> None:
    signer = Signer.draw()
    job = client.post("/certify", files={"image": digit}, data={"n": 1000}).json()
    task = worker.begin(job["id"])
    worker.votes.finish(task, signer.sign(certificate(task, 1000, 0.5)), progress(1000, 0.5))
    key, keys = f"{{smoothcert}}:job:{job['id']}", PublicKeys(keys=(signer.public,))
    assert signature_problem(client.get(job["links"]["certificate"]).json(), keys) is None
    with redis.Redis.from_url(redis_url) as neighbour:
        stored = json.loads(neighbour.hget(key, "certificate"))
        neighbour.hset(key, "certificate", json.dumps(stored | {"radius": 2.5}))
    forged = client.get(job["links"]["certificate"]).json()
    assert forged["radius"] == 2.5, "the service believes the broker: it is inside the boundary of trust"
    assert "changed afterwards" in (signature_problem(forged, keys) or "")


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.place,)


def test_a_pickle_among_the_messages_is_never_opened_and_the_worker_lives_on(
    plant: Plant, tmp_path: Path
) -> None:
    plant.staff("stand-in")
    exploded = tmp_path / "exploded"
    body = pickle.dumps(Bomb(exploded))
    with plant.publisher._app.connection_for_write() as connection, connection.Producer() as producer:
        for kind, encoding in (("application/x-python-serialize", "binary"), ("application/json", "utf-8")):
            producer.publish(
                body,
                routing_key=queue_of(MODEL),
                content_type=kind,
                content_encoding=encoding,
                headers={"task": TASK, "id": "x", "lang": "py"},
            )
    assert plant.ended(plant.submit(n=1000)).status == "succeeded"
    assert not exploded.exists()
