import subprocess
from pathlib import Path

import pytest
import redis

from smoothcert.cli.processes import Broker, SupervisedProcess, server_binary, spawn
from smoothcert.errors import BrokerUnavailable
from tests.cli.test_up import alive, ended
from tests.worker.plant import eventually


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_server_on_the_path_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = executable(tmp_path / "valkey-server", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_binary() == found


def test_without_one_the_packaged_server_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_binary().name == "valkey-server"


def test_without_any_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("smoothcert.cli.processes.PACKAGE", "no_such_package")
    with pytest.raises(BrokerUnavailable, match="SMOOTHCERT_REDIS_URL"):
        server_binary()


def test_a_server_that_dies_at_once_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path / "redis-server", "echo no thanks; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match=r"broker\.log"):
        Broker.start(tmp_path)
    assert (tmp_path / "broker.log").read_text() == "no thanks\n"


def test_what_was_written_survives_a_killed_server(tmp_path: Path) -> None:
    with Broker.start(tmp_path) as broker, redis.Redis.from_url(broker.url) as client:
        client.set("key", "value")
        broker.process.kill()
        broker.process.wait()
    with Broker.start(tmp_path) as broker, redis.Redis.from_url(broker.url) as client:
        assert client.get("key") == b"value"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_what_a_dead_part_leaves_behind_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()

    def launch() -> "subprocess.Popen[bytes]":
        return spawn(["sh", "-c", f"sleep 60 & echo $! > {tmp_path / 'pid'}; exit 3"])

    part = SupervisedProcess("part", log, launch, launch(), proven=True)
    part.process.wait()
    left = int((tmp_path / "pid").read_text())
    assert alive(left)
    said: list[str] = []
    part.watch(said.append)
    eventually(lambda: ended(left), patience=5)
    assert said == [f"The part ended by itself (status 3); it starts again in 0.5 s (see {log})."]
