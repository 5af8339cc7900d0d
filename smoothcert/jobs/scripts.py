"""The Lua scripts as callables. Every failure of the broker becomes BrokerUnavailable here."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.commands.core import Script

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import unavailable
from smoothcert.jobs.keys import ROOT

FOLDER = Path(__file__).parent / "lua"

Argument = str | float | bool | list[str] | dict[str, str | int]

# What a broker says that serves nobody, or takes no writes: a replica after a failover, one that lost its
# replicas or its disk, or has other rights for us. redis-py has classes for some, and takes their codes off.
REFUSALS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.MasterDownError,
    redis.exceptions.MovedError,
    redis.exceptions.ClusterDownError,
)
REFUSAL_CODES = "MISCONF", "NOREPLICAS", "BUSY", "DENIED", "DB index", "invalid DB", "SELECT is not allowed"


@cache
def source(name: str) -> str:
    """The text of one script: its first line (flags), what all of them share, the rest."""
    flags, _, body = (FOLDER / f"{name}.lua").read_text().partition("\n")
    return f"{flags}\n{(FOLDER / '_common.lua').read_text()}{body}"


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raises BrokerUnavailable for whatever the broker or the way to it does wrong."""
    try:
        yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        raise unavailable(error) from error
    except redis.exceptions.OutOfMemoryError as error:
        raise BrokerUnavailable("The broker is out of memory; try again later.") from error
    except redis.exceptions.ResponseError as error:
        if isinstance(error, REFUSALS) or str(error).startswith(REFUSAL_CODES):
            raise unavailable(error) from error
        raise


class Scripts:
    """The scripts of one client. Nothing is sent before the first call.

    A broker that was silent for a whole time limit is left alone for `pause` seconds, in which every call
    fails at once: many callers must not wait for it one after the other.
    """

    def __init__(self, client: redis.Redis, root: str = ROOT, pause: float = 0.0) -> None:
        self.client = client
        self.root = root
        self._pause = pause
        self._silent_until = 0.0  # time.monotonic()
        self._registered: dict[str, Script] = {}

    def run(self, name: str, *, data: bytes = b"", queue: str = "", **arguments: Argument) -> Any:
        """Runs one script atomically. data: bytes that JSON can't hold. queue: a Celery queue it reads.

        Raises BrokerUnavailable.
        """
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self.client.register_script(source(name))
        if time.monotonic() < self._silent_until:
            raise BrokerUnavailable
        keys = [self.root, queue] if queue else [self.root]
        with broker_errors():
            try:
                return script(keys=keys, args=[json.dumps(arguments), data])
            except redis.exceptions.TimeoutError:
                self._silent_until = time.monotonic() + self._pause
                raise
