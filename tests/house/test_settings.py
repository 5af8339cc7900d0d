"""docs/deploy.md documents exactly the settings that exist, with their defaults."""

import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from service.settings import Settings as ServiceSettings
from smoothcert.cli.settings import Settings as CommandSettings
from worker.settings import Settings as WorkerSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
DOCUMENTED = set(re.findall(r"`SMOOTHCERT_([A-Z_]+)`", PAGE))
COMPOSE_ONLY = {"PORT", "VERSION"}


def names(settings: type[BaseSettings]) -> set[str]:
    return {name.upper() for name in settings.model_fields}


@pytest.mark.parametrize("settings", [ServiceSettings, WorkerSettings, CommandSettings])
def test_every_setting_is_documented(settings: type[BaseSettings]) -> None:
    assert names(settings) - DOCUMENTED == set()


def test_every_documented_setting_exists() -> None:
    known = names(ServiceSettings) | names(WorkerSettings) | names(CommandSettings)
    assert DOCUMENTED - known == COMPOSE_ONLY


def documented_defaults() -> dict[str, float]:
    """Numbers of the tables' second column, by setting."""
    found = {}
    for row in re.findall(r"^\| (`SMOOTHCERT_.*?) \| (.*?) \|", PAGE, re.MULTILINE):
        values = [value.replace(" ", "") for value in row[1].split(", ")]
        for name, value in zip(re.findall(r"SMOOTHCERT_([A-Z_]+)", row[0]), values, strict=True):
            if re.fullmatch(r"[0-9.]+", value):
                found[name] = float(value)
    return found


def test_no_setting_has_two_rows() -> None:
    rows = re.findall(r"^\| (`SMOOTHCERT_.*?) \|", PAGE, re.MULTILINE)
    counts = Counter(re.findall(r"SMOOTHCERT_([A-Z_]+)", " ".join(rows)))
    assert [name for name, times in counts.items() if times > 1] == []


def test_documented_defaults_are_in_force() -> None:
    in_force = {
        name.upper(): field.default
        for settings in (ServiceSettings, WorkerSettings)
        for name, field in settings.model_fields.items()
    }
    documented = documented_defaults()
    assert len(documented) > 10
    assert {name: in_force[name] for name in documented} == documented
