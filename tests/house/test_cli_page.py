"""docs/cli.md is what `make docs` writes; the help of a command names each method and data set."""

import pytest
import typer

from docs.write_cli import PAGE, document
from smoothcert.cli.main import commands
from training.datasets import DATASETS
from training.methods import METHODS

GROUP = typer.main.get_command(commands)


def help_of(name: str) -> list[str]:
    command = GROUP.commands[name]  # type: ignore[attr-defined]
    text: str = command.get_help(typer.Context(command, info_name=name))
    return text.replace(",", " ").replace(".", " ").split()


def test_the_page_is_what_make_docs_writes() -> None:
    assert PAGE.read_text() == document(), "`make docs` renews it"


@pytest.mark.parametrize("name", METHODS)
def test_a_registered_method_is_in_the_help_of_train(name: str) -> None:
    assert name in help_of("train")


@pytest.mark.parametrize("name", DATASETS)
def test_a_registered_data_set_is_in_the_help_of_every_command_that_takes_one(name: str) -> None:
    commands_with_a_data_set = [name for name in GROUP.commands if "--dataset" in help_of(name)]  # type: ignore[attr-defined]
    assert {"attack", "evaluate", "quantize", "train"} <= set(commands_with_a_data_set)
    assert [command for command in commands_with_a_data_set if name not in help_of(command)] == []
