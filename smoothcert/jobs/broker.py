"""The broker's URL, its Redis client, and one-line messages about what is wrong with either."""

from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import redis
from pydantic import AfterValidator
from redis.backoff import NoBackoff
from redis.retry import Retry

from smoothcert.errors import BadKeyFile, BrokerUnavailable, InvalidRequest

LOCAL_BROKER = "redis://127.0.0.1:6379/0"  # the default
CONNECT_TIMEOUT = 1.0  # seconds; a broker that drops packets must not hang its callers
ANSWER_TIMEOUT = 2.0  # seconds
ALIASES = {"redis+socket": "unix"}  # Celery's name
SCHEMES = ("redis", "rediss", "unix")
FORMS = "redis://HOST:PORT/DB, rediss:// for TLS, or unix:///PATH?db=DB"
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS = (*FILES, "ssl_cert_reqs", "ssl_check_hostname")
CHECKS = {
    "required": "required", "optional": "optional", "none": "none",
    "cert_required": "required", "cert_optional": "optional", "cert_none": "none",  # Celery's names
}  # fmt: skip
TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}
NO_EVICTION = "noeviction"


class BadBroker(InvalidRequest):
    """The broker's address can't be used."""


def broker_url(url: str, password_file: Path | None) -> str:
    """The broker's URL in one form for redis-py and Celery (`celery_url`), with the password from a file, so
    that it need not be in an environment variable.

    Over TLS (`rediss://`) the server's certificate is checked unless the URL disables it. The parameter is
    always explicit: redis-py checks by default, kombu does not. Raises BadKeyFile, and BadBroker, whose
    message never shows the URL: it may contain a password.
    """
    parts = _parts(url.strip())
    if password_file:
        user, host = parts.username or "", parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{user}:{quote(_secret(password_file), safe='')}@{host}")
    return _written(parts)


def celery_url(url: str) -> str:
    """A URL returned by `broker_url`, in Celery's notation."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = dict(parse_qsl(parts.query)).get("db", "0")
    return _written(parts._replace(scheme="redis+socket", query=f"virtual_host={database}"))


def _written(parts: SplitResult) -> str:
    """Like `urlunsplit`, which however drops the two slashes before a path without a host."""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        scheme = ALIASES.get(parts.scheme, parts.scheme)
        if scheme not in SCHEMES:
            raise BadBroker(
                f"The broker's address begins with {parts.scheme or 'nothing'}://; write {FORMS}."
            )
        _check_place(parts, scheme)
    except BadBroker:
        raise
    except ValueError:  # its message may show a part of the password
        raise BadBroker(
            "The broker's address can't be read: its port is no number up to 65535, or its password has "
            f"characters that are written %XX; write {FORMS}."
        ) from None
    query = _query(parts, scheme)
    if scheme != "unix" and (database := query.pop("db", None)) is not None:
        parts = parts._replace(path=f"/{database}")  # Celery reads the database from the path
    return parts._replace(scheme=scheme, query=urlencode(query, safe="/"))


def _checked(url: str) -> str:
    broker_url(url, None)
    return url


Address = Annotated[str, AfterValidator(_checked)]  # for settings: an invalid URL fails at startup


def _check_place(parts: SplitResult, scheme: str) -> None:
    """Raises BadBroker; ValueError for an invalid port."""
    if parts.fragment:
        raise BadBroker("The broker's address has a # in it: write it as %23, also in a password.")
    if scheme == "unix":
        if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
            raise BadBroker("A broker's socket is written unix:///PATH, with three slashes.")
        return
    if parts.port == 0 or "," in parts.netloc.rpartition("@")[2]:
        raise BadBroker(f"The broker's address names no single server; write {FORMS}.")
    if not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
        raise BadBroker("The broker's database is a number, as in redis://HOST:PORT/0.")


def _query(parts: SplitResult, scheme: str) -> dict[str, str]:
    """The query parameters, by redis-py's names. Raises BadBroker."""
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = given.pop("virtual_host", given.pop("db", None))
    unknown = [name for name in given if scheme != "rediss" or name not in TLS]
    if unknown:
        known = ", ".join(["db", *TLS] if scheme == "rediss" else ["db"])
        hint = " (for TLS write rediss://)" if unknown[0] in TLS else ""
        raise BadBroker(f"The broker's address has no parameter {unknown[0]!r}{hint}; there are: {known}.")
    query = {} if database is None else {"db": database.strip("/")}
    path = "" if scheme == "unix" else parts.path.strip("/")
    if not query.get("db", "0").isdecimal() or (query and path not in ("", query["db"])):
        raise BadBroker("The broker's database is a number, as in ?db=0.")
    return query | (_tls(given) if scheme == "rediss" else {})


def _tls(given: dict[str, str]) -> dict[str, str]:
    words = {"ssl_cert_reqs": CHECKS, "ssl_check_hostname": TRUTH}
    query = {"ssl_cert_reqs": "required"} | given
    for name, allowed in words.items():
        if name in query and query[name].lower() not in allowed:
            raise BadBroker(f"The broker's {name} is one of {', '.join(dict.fromkeys(allowed.values()))}.")
    for name in FILES:
        if name in query:
            _check_readable(name, query[name])
    return {name: words[name][text.lower()] if name in words else text for name, text in query.items()}


def _check_readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise BadBroker(f"The broker's {name} {path} can't be read: {error.strerror}.") from error


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path}, the broker's password, can't be read: {type(error).__name__}.") from error


def connect(url: str, retries: int = 1, timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A Redis client with short timeouts. timeout: seconds for a response. Connects on first use.

    A call is retried if its connection breaks, as every transition is idempotent. Callers that must respond
    quickly use no retries: connecting and calling are retried separately, and the timeouts add up.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=timeout,
        health_check_interval=15,
        retry=Retry(NoBackoff(), retries),
    )


def evicts(client: redis.Redis) -> str | None:
    """Why this broker may evict records and messages when its memory is full, or None: it refuses writes
    instead, has no memory limit, or does not tell. Records have a TTL, so `volatile-*` policies evict them.

    Raises BrokerUnavailable.
    """
    try:
        memory = client.info("memory")
    except redis.exceptions.NoPermissionError:
        return None
    except (redis.RedisError, OSError) as error:
        raise unavailable(error) from error
    policy = str(memory.get("maxmemory_policy", NO_EVICTION))
    if policy == NO_EVICTION or not int(memory.get("maxmemory", 0)):
        return None
    return f"the broker drops jobs when it is full (maxmemory-policy {policy}): set {NO_EVICTION}"


def need_no_eviction(url: str) -> None:
    """Raises BrokerUnavailable if the broker may evict jobs, or does not respond."""
    with connect(url) as client:
        if reason := evicts(client):
            raise BrokerUnavailable(f"{reason[0].upper()}{reason[1:]}.")


def unavailable(error: Exception) -> BrokerUnavailable:
    """The error for a failure of the broker or the connection: names the cause, but not the URL."""
    return BrokerUnavailable(_reason(error))


def _reason(error: Exception) -> str | None:
    message = f"{error} {error.__context__ or ''}".strip()
    if isinstance(error, redis.exceptions.AuthenticationError):
        needs_password = message.startswith(("NOAUTH", "Authentication required", "HELLO must be called"))
        return (
            "The broker wants a password: name its file in SMOOTHCERT_REDIS_PASSWORD_FILE."
            if needs_password
            else "The broker refuses the user or the password."
        )
    for parts, reason in REASONS:
        if any(part.lower() in message.lower() for part in parts):
            return reason
    if isinstance(error, redis.exceptions.ResponseError):
        return f"The broker refuses: {error}"
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.strerror and not isinstance(error, redis.TimeoutError):
        return f"The broker does not answer ({cause.strerror}); check SMOOTHCERT_REDIS_URL."
    return None


# Parts of the messages of redis-py, OpenSSL and the server.
REASONS = (
    (("DB index is out of range", "invalid DB index"), "The broker has no database of this number."),
    (("cluster mode", "MOVED ", "CLUSTERDOWN", "CROSSSLOT", "slot not served"),
     "The broker is part of a cluster, which is not supported: name a single server."),
    (("read only replica",), "The broker is a read only replica: name the primary."),
    (("hostname mismatch", "IP address mismatch"), "The broker's TLS certificate is for another name."),
    (("CERTIFICATE_VERIFY_FAILED",),
     "The broker's TLS certificate is not trusted: name its authority's file with ?ssl_ca_certs=FILE."),
    (("CERTIFICATE_REQUIRED", "handshake failure"),
     "The broker wants a TLS certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE."),
    (("WRONG_VERSION_NUMBER", "record layer failure", "handshake operation timed out"),
     "The broker does not speak TLS: write redis://."),
    (("Connection closed by server", "Connection reset"),
     "The broker closes the connection: it wants TLS (rediss://), or it is none."),
    (("Protocol Error",), "What answers there is no broker."),
    (("max number of clients",), "The broker takes no more connections."),
    (("loading the dataset",), "The broker is loading its data; try again shortly."),
)  # fmt: skip
