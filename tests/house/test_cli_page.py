"""docs/cli.md is what the commands say of themselves; each method and data set is in it and in their help."""

import pytest
import typer

from docs.write_cli import PAGE, document
from smoothcert.main import commands
from training.methods import METHODS
from training.sources import SOURCES

GROUP = typer.main.get_command(commands)


def help_of(name: str) -> list[str]:
    command = GROUP.commands[name]  # type: ignore[attr-defined]
    said: str = command.get_help(typer.Context(command, info_name=name))
    return said.replace(",", " ").replace(".", " ").split()


def test_the_page_is_what_make_docs_writes() -> None:
    assert PAGE.read_text() == document(), "`make docs` renews it"


def test_every_command_is_in_it() -> None:
    page = PAGE.read_text()
    assert [name for name in GROUP.commands if f"## smoothcert {name}" not in page] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", METHODS)
def test_a_registered_method_is_in_the_page_and_in_the_help_of_train(name: str) -> None:
    assert f"### {name}\n" in PAGE.read_text()
    assert name in help_of("train")


@pytest.mark.parametrize("name", SOURCES)
def test_a_registered_data_set_is_in_the_page_and_in_the_help_of_all_that_take_one(name: str) -> None:
    assert f"| `{name}` |" in PAGE.read_text()
    takers = [one for one in GROUP.commands if "--dataset" in help_of(one)]  # type: ignore[attr-defined]
    assert sorted(takers) == ["attack", "evaluate", "quantize", "train"]
    assert [one for one in takers if name not in help_of(one)] == []
