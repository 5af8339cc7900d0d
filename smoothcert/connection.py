"""HTTP connections: addresses, proxies and CA certificates of the environment, with errors in words."""

import os
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import httpx2

from smoothcert.errors import InvalidRequest

TIMEOUT = 30.0  # seconds until a silent server counts as gone


class Address:
    """Where a server is, and what every request to it carries."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            self.url = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise InvalidRequest(f"{url!r} is no address: {error}.") from error
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise InvalidRequest(f"{url!r} is no address; write it like http://127.0.0.1:8000.")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidRequest(
                "The API key (api_key, SMOOTHCERT_API_KEY) is none as `smoothcert keys create` prints them."
            )
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def options(self) -> dict[str, Any]:
        """Proxies and CA certificates are the environment's. No proxy for loopback addresses."""
        return {
            "base_url": self.url,
            "headers": self.headers,
            "timeout": TIMEOUT,
            "trust_env": not _is_loopback(self.url.host),
            "verify": _authorities() if self.url.scheme == "https" else False,
        }

    def place(self, path: str) -> str:
        """The path below the base URL: links of the service hold a proxy's prefix, as the base URL does."""
        below = self.url.path.rstrip("/")
        return path.removeprefix(below) if below and path.startswith(f"{below}/") else path


def open_client(kind: Callable[..., Any], address: Address) -> Any:
    """An HTTP client, httpx2.Client or httpx2.AsyncClient. Raises InvalidRequest."""
    try:
        return kind(**address.options())
    except ImportError as error:
        raise InvalidRequest(
            "The environment names a SOCKS proxy (ALL_PROXY), which is not supported: name one of HTTP, or "
            "the server's host in NO_PROXY."
        ) from error
    except (ValueError, httpx2.InvalidURL) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(
            f"A proxy of the environment (HTTP_PROXY, ...) can't be used: {error}."
        ) from error


def _authorities() -> ssl.SSLContext:
    """The CA certificates of SSL_CERT_FILE or SSL_CERT_DIR, else the default ones. Raises InvalidRequest."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        return httpx2.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        named = f"SSL_CERT_FILE={file}" if file else f"SSL_CERT_DIR={folder}"
        reason = error.strerror or str(error)
        raise InvalidRequest(f"{named} holds no certificates that can be read: {reason}.") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
