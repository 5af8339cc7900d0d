"""Keeps what a worker holds while it works: the job's lease or its portion's, and the broker's message."""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType

import redis
import structlog

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.leases import LostLease

UNACKED_INDEX = "unacked_index"  # kombu's sorted set of delivered messages, scored by time

log = structlog.get_logger(__name__)


class Message:
    """The message that brought a job. Celery's Redis transport delivers it again once it is older than the
    visibility timeout, acknowledged or not, unless its entry is renewed."""

    def __init__(self, client: redis.Redis, delivery_tag: str | None) -> None:
        self._client = client
        self._tag = delivery_tag

    def renew(self) -> None:
        """As if it had been delivered now."""
        if self._tag is not None:
            self._client.zadd(UNACKED_INDEX, {self._tag: time.time()}, xx=True)


class Keeper:
    """Renews from a thread of its own, as model loading and single forward passes may outlast a lease.

    renew: extends the lease (of `lease` seconds), or raises LostLease. It stops when nothing was `noted` for
    `stall` seconds: a holder that hangs must lose its job.
    """

    def __init__(self, renew: Callable[[], None], message: Message, lease: float, stall: float) -> None:
        self._renew, self._message, self._stall = renew, message, stall
        self._interval = lease / 3
        self._noted = time.monotonic()
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._keep,), name="keeper", daemon=True
        )

    @property
    def lost(self) -> bool:
        """Whether the job is known to be somebody else's."""
        return self._lost.is_set()

    def note(self) -> None:
        """The holder is getting on."""
        self._noted = time.monotonic()

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._done.wait(self._interval):
            if time.monotonic() - self._noted > self._stall:
                log.error("stalled")
                return
            try:
                self._renew()
                self._message.renew()
            except LostLease:
                self._lost.set()
                return
            except (BrokerUnavailable, redis.RedisError) as error:
                log.warning("renewal failed", error=str(error))
