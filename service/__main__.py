"""`python -m service [--host HOST] [--port PORT]`: the service alone, on loopback unless told otherwise."""

import argparse
import ipaddress
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.app import create_app
from service.auth import LOCAL
from service.settings import Settings
from smoothcert import logs
from smoothcert.environment import read_environment
from smoothcert.errors import SmoothCertError


class PlainHttp(H11Protocol):
    """Java's HttpClient and `curl --http2` offer h2c in each first request, so uvicorn's warning is noise."""

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.debug("An offer to upgrade was not taken.")


log = structlog.get_logger(__name__)

HEADERS = 64 * 1024  # bytes; limit on the request line with its headers, and on the trailers
GRACE = 3  # seconds; open responses get this long when the service stops


class Server(uvicorn.Server):
    """Ends long polls and event streams on shutdown. Uvicorn alone would wait for them."""

    def __init__(self, app: FastAPI, host: str, port: int, keep_alive: int) -> None:
        self.app = app
        config = uvicorn.Config(
            app,
            host,
            port,
            http=PlainHttp,
            ws="none",
            h11_max_incomplete_event_size=HEADERS,
            timeout_keep_alive=keep_alive,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,  # service.middleware and service.auth read the few that they trust
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGINT and SIGTERM."""
        self.app.state.closing.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Runs until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        settings = read_environment(Settings)
        settings.broker  # noqa: B018  (raises when the password file is missing)
    except SmoothCertError as error:
        sys.exit(f"python -m service: {error}")
    logs.configure(settings.log_level, settings.log_json)
    check_host(options.host, settings)
    Server(create_app(named(settings)), options.host, options.port, settings.keep_alive).run()


def named(settings: Settings) -> Settings:
    """Without API keys, restrict Host names (DNS rebinding, service.auth)."""
    if settings.api_keys or settings.hosts:
        return settings
    return settings.model_copy(update={"hosts": (LOCAL,)})


def check_host(host: str, settings: Settings) -> None:
    """Without API keys, allows only loopback, unless SMOOTHCERT_ALLOW_ANONYMOUS is set; else exits with 1."""
    if settings.api_keys:
        return
    if is_loopback(host):
        log.info("no API keys are configured: only this machine may call", host=host)
    elif settings.allow_anonymous:
        log.warning(
            "no API keys are configured: every caller that reaches this address is accepted", host=host
        )
    else:
        sys.exit(
            f"python -m service: without API keys it listens on loopback only, not on {host}. Make keys with "
            "`smoothcert keys create` and name their file in SMOOTHCERT_API_KEYS, or set "
            "SMOOTHCERT_ALLOW_ANONYMOUS=true where something in front decides who may call."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
