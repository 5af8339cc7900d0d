"""The Lua scripts as callables. Failures of the broker become BrokerUnavailable."""

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

# Errors of a broker that serves no requests or accepts no writes: a replica after a failover, one that lost
# its replicas or its disk, or missing permissions. redis-py has classes for some, and strips their codes.
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
    """The text of one script: its first line (flags), the shared functions, the rest."""
    flags, _, body = (FOLDER / f"{name}.lua").read_text().partition("\n")
    return f"{flags}\n{(FOLDER / '_common.lua').read_text()}{body}"


@contextmanager
def broker_errors() -> Iterator[None]:
    """Raises BrokerUnavailable for failures of the broker or the connection; others pass through."""
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

    A circuit breaker: after a timeout every call fails at once for `pause` seconds, so that callers don't
    each wait for a broker that does not respond.
    """

    def __init__(self, client: redis.Redis, root: str = ROOT, pause: float = 0.0) -> None:
        self.client = client
        self.root = root
        self._pause = pause
        self._silent_until = 0.0  # time.monotonic()
        self._registered: dict[str, Script] = {}

    def run(self, name: str, *, data: bytes = b"", queue: str = "", **arguments: Argument) -> Any:
        """Runs one script atomically. data: bytes, which JSON can't hold. queue: a Celery queue it reads.

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
