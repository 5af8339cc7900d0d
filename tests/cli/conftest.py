"""The command as a user runs it: another process, its exit code and what it writes."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from smoothcert.cli.main import app
from smoothcert.cli.settings import settings
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import save_checkpoint
from smoothcert.schemas.card import ModelCard, Preprocessing

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
MODEL = "mnist-lenet-gaussian-0.50"
SETUP = "cpu:eager/1-threads:float32:128"  # every machine has it

Finished = subprocess.CompletedProcess[str]
Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model: an untrained LeNet, which is as good a base classifier as any other."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    card = ModelCard(
        name=MODEL,
        architecture="lenet",
        dataset="mnist",
        input_shape=(1, 28, 28),
        labels=list("0123456789"),
        preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        sigma=0.5,
        method="gaussian",
        weights_sha256="0" * 64,
        data_license="none",
    )
    save_checkpoint(root / MODEL, build_network("lenet", 10, (0.0,), (1.0,)), card)
    return root


def settings_of(models: Path) -> dict[str, str]:
    return {"SMOOTHCERT_MODELS": str(models), "SMOOTHCERT_DEFAULT_MODEL": MODEL}


@pytest.fixture(scope="session")
def smoothcert(models: Path) -> Command:
    """Runs the installed command; it knows the untrained model as its default one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMOOTHCERT_")}
    environment |= settings_of(models) | {"OMP_NUM_THREADS": "1"}

    def run(*arguments: object, **changes: str) -> Finished:
        return subprocess.run(
            [Path(sys.executable).with_name("smoothcert"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment | changes,
            cwd=ROOT,
            check=False,
        )

    return run


def written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@contextmanager
def command_here(models: Path) -> Iterator[Command]:
    """Runs the same command in this process, which has loaded torch already; `inside`, for wider fixtures."""

    def run(*arguments: object, **changes: str) -> Finished:
        words = ["smoothcert", *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
        with pytest.MonkeyPatch.context() as changed, redirect_stdout(out), redirect_stderr(err):
            changed.setattr(sys, "argv", words)
            for name, value in changes.items():
                changed.setenv(name, value)
            if changes:
                settings.cache_clear()
            with pytest.raises(SystemExit) as ended:
                app()
        if changes:
            settings.cache_clear()
        return Finished(words, int(ended.value.code or 0), written(out), written(err))

    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings_of(models).items():
            environment.setenv(name, value)
        settings.cache_clear()
        yield run
    settings.cache_clear()


@pytest.fixture
def inside(models: Path) -> Iterator[Command]:
    """Runs the same command in this process."""
    with command_here(models) as run:
        yield run
