"""Writes docs/cli.md from the commands, methods, data sets and ONNX operators: `make docs`."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, replace
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

from smoothcert.cli.main import commands
from smoothcert.models.onnx.network import OPERATORS
from training.datasets import DATASETS, find_dataset
from training.datasets.base import DENOISER, IMAGENET, DatasetDefaults
from training.methods import METHODS, defaults, find_method, written

PAGE = Path(__file__).parent / "cli.md"
SIGMAS = (0.25, 0.5, 1.0)
OTHERS = "folder:PATH"
HEADING = """# The command line

Written by `make docs` from the commands themselves. Results go to stdout; progress goes to stderr, on a
terminal only. Exit status: 0, 2 for a wrong request, 1 for a failure, 130 when interrupted. An error is one
line on stderr that says what to change. A *model* is the name of a bundled one or a checkpoint folder; radii
are ℓ2, with pixels from 0 to 1. Environment variables: [settings](deploy.md#settings). Files:
[files](files.md).
"""
METHODS_HEADING = """## Training methods
Options of `smoothcert train METHOD`, as `--NAME VALUE`, in addition to those of every method. Three values
are those at σ = 0.25, 0.5 and 1; another σ takes the nearest of them. Your own images take ImageNet's.
"""
SETS_HEADING = """## Data sets
Values of `--dataset`, with the defaults of training. `folder:PATH` is
[any tree of class folders](tutorial-own-data.md).

"""
OPERATORS_HEADING = """
## Operators of ONNX files
Those that `smoothcert add` reads ([what else it asks of a file](how-to-add-a-model.md#an-onnx-file)):
"""


def document() -> str:
    """The whole page."""
    group = typer.main.get_command(commands)
    parts = [HEADING, *_commands(group, "smoothcert"), METHODS_HEADING]
    parts += [_method(name) for name in METHODS]
    operators = ", ".join(f"`{name}`" for name in sorted(OPERATORS))
    return "\n".join([*parts, SETS_HEADING + _sets() + OPERATORS_HEADING + operators + ".\n"])


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> str:
    context = typer.Context(command, info_name=path)
    text = " ".join(cleandoc(command.help or "").split())
    usage = " ".join(command.collect_usage_pieces(context))
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [[f"`{name}`", help_text] for name, help_text in filter(None, records) if "--help" not in name]
    options = f"\n{_table(['', ''], rows)}" if rows else ""
    return f"## {path}\n```text\n{path} {usage}\n```\n{text}\n{options}"


def _method(name: str) -> str:
    kind = find_method(name)
    rows = [
        [f"`--{written(option).replace('_', '-')}`", option.metadata["help"], *_published(name, option.name)]
        for option in fields(kind)  # type: ignore[arg-type]
        if option.name != "sigma"
    ]
    assert all(option.default is not MISSING for option in fields(kind)[1:])  # type: ignore[arg-type]
    return f"### {name}\n{_table(['option', '', *DATASETS, OTHERS], rows)}"


def _published(method: str, option: str) -> Iterator[str]:
    for dataset in (*DATASETS, OTHERS):
        values = [f"{defaults(method, dataset, sigma)[option]!s}".removesuffix(".0") for sigma in SIGMAS]
        yield values[0] if len(set(values)) == 1 else " / ".join(values)


def _sets() -> str:
    found = [(name, source) for name in DATASETS if (source := find_dataset(name))]
    rows = [[f"`{name}`", *_trained(one.defaults), one.licence] for name, one in found]
    header = ["", "network", "learning rate", "batch", "weight decay", "epochs", "drops every", "licence"]
    rows += [
        [f"`{name}` by `{method}`", *_trained(replace(source.defaults, schedule=own)), source.licence]
        for name, source in found
        for method, own in source.method_schedules.items()
    ]
    rows.append([f"`{OTHERS}`", *_trained(IMAGENET), "the images' owner's"])
    denoiser = ["any by `denoiser`", *_trained(replace(IMAGENET, schedule=DENOISER)), ""]
    denoiser[1:3] = ["before that of `--classifier`", f"{DENOISER.lr:g} (Adam)"]
    return _table(header, [*rows, denoiser])


def _trained(known: DatasetDefaults) -> list[str]:
    schedule = known.schedule
    figures = (
        f"{schedule.lr:g}",
        schedule.batch,
        f"{schedule.weight_decay:g}",
        schedule.epochs,
        schedule.lr_step,
    )
    return [known.architecture, *map(str, figures)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(document())
