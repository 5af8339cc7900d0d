"""The broker's address, and a client of the store there."""

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from certification.errors import BadKeyFile

LOCAL_BROKER = "redis://127.0.0.1:6379/0"  # where nobody names one
CONNECT_TIMEOUT = 1.0  # seconds; a broker that swallows packets must not hang its callers
ANSWER_TIMEOUT = 2.0  # seconds


def broker_url(url: str, password_file: Path | None) -> str:
    """The broker's address with the password that a file holds, so that none need stand in an environment.

    Over TLS (`rediss://`) the server's certificate is checked unless the address says otherwise: by default
    redis-py checks it and kombu does not. Raises BadKeyFile.
    """
    parts = urlsplit(url)
    if password_file:
        user, host = parts.username or "", parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{user}:{quote(_secret(password_file), safe='')}@{host}")
    if parts.scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        parts = parts._replace(query="&".join(filter(None, [parts.query, "ssl_cert_reqs=required"])))
    return urlunsplit(parts)


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path}, the broker's password, can't be read: {type(error).__name__}.") from error


def connect(url: str, retries: int = 1, timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A client for the store with short time limits (`timeout`: seconds an answer may take). Connects at
    its first use, not here.

    A call is tried once more when its connection breaks: every transition may be repeated without harm. Who
    must answer quickly takes no retries: connecting and calling each have their own, and the times add up.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=timeout,
        health_check_interval=15,
        retry=Retry(NoBackoff(), retries),
    )
