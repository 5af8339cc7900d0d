"""A part of `smoothcert up`: what becomes of it when it dies."""

import subprocess
from pathlib import Path

from smoothcert.cli.local_broker import spawn
from smoothcert.cli.processes import SupervisedProcess
from tests.cli.test_up import alive, ended
from tests.worker.plant import eventually


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
