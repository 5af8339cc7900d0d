"""What .github and .pre-commit-config.yaml run is there: targets of the Makefile, scripts, Pythons."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PYTHONS = ["3.11", "3.12", "3.13"]


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def combinations(job: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The values of a matrix with one dimension, one at a time; an empty one without a matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    assert len(matrix) <= 1
    yield from ({name: value} for name, values in matrix.items() for value in values)
    if not matrix:
        yield {}


def commands(workflow: Path) -> Iterator[list[str]]:
    for job in jobs(workflow).values():
        for values in combinations(job):
            for step in job["steps"]:
                text = step.get("run", "")
                for name, value in values.items():
                    text = text.replace(f"${{{{ matrix.{name} }}}}", value)
                yield from (shlex.split(line) for line in text.splitlines())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_of_a_workflow_is_there(workflow: Path) -> None:
    ours = [words for words in commands(workflow) if words[0] == "make" or "/" in words[0]]
    assert ours
    for program, *arguments in ours:
        if program == "make":
            assert {word for word in arguments if "=" not in word} <= TARGETS
        else:
            assert (ROOT / program).is_file()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_modules_that_a_workflow_mutates_are_there(workflow: Path) -> None:
    named = [word for words in commands(workflow) for word in words if word.startswith("MODULE=")]
    assert [word for word in named if not (ROOT / word.removeprefix("MODULE=")).is_file()] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_time_limit_and_every_action_a_hash(workflow: Path) -> None:
    for job in jobs(workflow).values():
        assert job["timeout-minutes"] <= 180
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []


def test_ci_runs_every_python_that_the_package_allows() -> None:
    assert jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"] == PYTHONS
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"


def test_every_target_that_a_hook_makes_is_there() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [
        hook["entry"] for repository in repositories for hook in repository["hooks"] if "entry" in hook
    ]
    assert entries
    assert {entry.removeprefix("make ") for entry in entries} <= TARGETS


def test_dependabot_watches_what_is_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "docker", "github-actions"}
    assert [update for update in updates if not (ROOT / update["directory"].strip("/")).is_dir()] == []
