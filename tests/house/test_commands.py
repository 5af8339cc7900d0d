"""Every command in the pages exists: the parser accepts it; targets and scripts are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from smoothcert.cli.main import commands
from training.methods import build_method
from training.recipe import parse_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md", "benchmarks/RESULTS.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
FENCE = re.compile(r"^( *)```(sh|console)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(?:\.venv/bin/)?smoothcert ((?:[a-z]+)(?: [^`]*)?)`")
SEPARATORS = {"&&", "||", "|", ";", "&"}
ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
GROUP: Any = typer.main.get_command(commands)

Words = list[str]


def lines(page: Path) -> Iterator[str]:
    """The commands of a page's blocks, continuation lines joined; in consoles, what follows the prompt."""
    for _, kind, block in FENCE.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if kind == "sh":
                yield line
            elif line.lstrip().startswith("$ "):
                yield line.lstrip()[2:]


def commands_of(page: Path) -> Iterator[Words]:
    """Simple commands, split into words."""
    for line in lines(page):
        words: Words = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word not in SEPARATORS:
                words.append(word)
            elif words:
                yield words
                words = []


def unassigned(words: Words) -> Words:
    """Without leading assignments of variables."""
    return unassigned(words[1:]) if words and ASSIGNMENT.fullmatch(words[0]) else words


def arguments(words: Words) -> Words | None:
    """The arguments of `smoothcert`, wherever it runs; None for another program."""
    program, *rest = unassigned(words) or [""]
    if Path(program).name == "smoothcert":
        return rest
    if program == "docker" and "keys" in rest and "compose" in rest and "run" in rest:
        return rest[rest.index("keys") :]  # that container's entry point is `smoothcert keys`
    if program == "docker" and "smoothcert" in rest:
        return rest[rest.index("smoothcert") + 1 :]
    return None


def find(words: Words) -> tuple[Any, Words]:
    """The command that the first words name, and its arguments."""
    command, rest = GROUP, list(words)
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"there is no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    return command, rest


def parse(words: Words) -> None:
    """Parses as `smoothcert` does, and raises what it raises."""
    command, rest = find(words)
    context = command.make_context(words[0], rest)
    if words[0] == "train":
        known = context.params
        options = parse_options(known["method"], context.args)
        build_method(known["method"], known["dataset"], known["sigma"], **options)


def cases() -> list[Any]:
    found = [
        (page, words) for page in PAGES for one in commands_of(page) if (words := arguments(one)) is not None
    ]
    return [pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}") for page, words in found]


@pytest.mark.parametrize("words", cases())
def test_the_parser_accepts_every_command_of_a_block(words: Words) -> None:
    parse(words)


def test_the_parser_refuses_wrong_commands() -> None:
    assert len(cases()) > 20
    with pytest.raises(Exception, match="No such option"):
        parse(["certify", "x.png", "--modle", "m"])
    with pytest.raises(Exception, match="has no option"):
        parse(["train", "gaussian", "--dataset", "mnist", "--sigma", "1", "--weight", "3"])


def mentioned(page: Path) -> list[Words]:
    return [match.split() for match in INLINE.findall(page.read_text())]


@pytest.mark.parametrize("page", [page for page in PAGES if mentioned(page)], ids=lambda page: page.name)
def test_commands_and_options_mentioned_in_a_sentence_exist(page: Path) -> None:
    for words in mentioned(page):
        command, rest = find(words)
        known = {
            option for parameter in command.params for option in parameter.opts + parameter.secondary_opts
        }
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert options - known - {"--help"} == set(), " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_and_scripts_that_a_block_runs_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in map(unassigned, commands_of(page)):
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets
        if words[:1] in (["python"], ["bash"]) and words[1:2] and words[1].endswith((".py", ".sh")):
            assert (ROOT / words[1]).exists(), words[1]


def test_the_script_of_how_to_verify_prints_the_radius(capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to-verify.md").read_text(), re.DOTALL)
    exec(compile(script, "how-to-verify.md", "exec"), {})
    assert capsys.readouterr().out.startswith("1.90201")
