"""Celery's transport, for a broker that is full: it goes on taking jobs, because taking one needs no memory.

Without this a full broker ends every worker: noting down a delivered message is refused, and that error is
none that the consumer survives.
"""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from redis.exceptions import OutOfMemoryError

log = structlog.get_logger(__name__)


class QoS(redis.QoS):
    """What was delivered and not acknowledged."""

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        """Notes a delivery. A message that can't be noted is never delivered again; the job's record has a
        lease and a janitor for that."""
        try:
            super().append(message, delivery_tag)
        except OutOfMemoryError as error:
            log.warning("the broker is full", error=str(error))
            virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, *what: Any, **how: Any) -> None:
        """Looks for messages to deliver again. A consumer that starts does so before anything else: refused
        then, its worker would end. It looks again every few seconds."""
        try:
            super().restore_visible(*what, **how)
        except OutOfMemoryError as error:
            log.warning("the broker is full", error=str(error))


class Channel(redis.Channel):
    """A connection's view of the queues."""

    QoS = QoS

    def _queue_bind(self, *what: str) -> None:
        """Senders bind their queues too: what is refused here is there already, or is made up for later."""
        try:
            super()._queue_bind(*what)  # type: ignore[misc]
        except OutOfMemoryError as error:
            log.warning("the broker is full", error=str(error))


class Transport(redis.Transport):
    """Takes the place of kombu's."""

    Channel = Channel


def install() -> None:
    """From now on Redis URLs of every kind mean this transport, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.transport:Transport"
