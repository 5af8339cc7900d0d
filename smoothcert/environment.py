"""Settings from environment variables, and the command that installs an optional extra."""

import os
import shlex
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from smoothcert.errors import InvalidRequest
from smoothcert.files import from_home

PREFIX = "SMOOTHCERT_"
Settings = TypeVar("Settings", bound=BaseModel)


def read_environment(kind: type[Settings]) -> Settings:
    """The settings of this process. Raises InvalidRequest naming the variable."""
    try:
        return kind()
    except ValidationError as error:
        raise InvalidRequest(
            "; ".join(_problem(item["loc"], item["msg"]) for item in error.errors())
        ) from None
    except ValueError as error:  # a list that isn't one
        raise InvalidRequest(f"The environment can't be used: {error}") from None


def _problem(loc: tuple[int | str, ...], message: str) -> str:
    """Names the variable, not its value, which may be a secret."""
    reason = message.removeprefix("Value error, ").rstrip(".")
    return f"{PREFIX}{str(loc[0]).upper()}: {reason}." if loc else f"{reason}."


CHECKOUT = Path(__file__).resolve().parent.parent


def how_to_install(extra: str, checkout: Path = CHECKOUT) -> str:
    """The command that installs an extra into this checkout; a sentence if there is no checkout.

    Never a bare package name: the name on the public index is not ours, so anyone could register it.
    """
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}[{extra}]')}"
    return f"install the extra `{extra}` from the repository or file that SmoothCert was installed from"


def models_folder(bundled: Path) -> Path:
    """The folder of checkpoint folders: SMOOTHCERT_MODELS, else the bundled one."""
    return Path(os.environ.get(f"{PREFIX}MODELS") or bundled)


def cache_folder() -> Path:
    """Where measured engines are kept: SMOOTHCERT_CACHE, else below the home folder."""
    return from_home(Path(os.environ.get(f"{PREFIX}CACHE") or "~/.cache/smoothcert"))
