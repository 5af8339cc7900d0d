"""The keys of those who may call, read from their file again whenever it was replaced."""

import base64
import binascii
from pathlib import Path

from starlette.datastructures import Headers

from certification.contract.keys import ApiKey, Keyring

OUR_OWN = {"same-origin", "none"}  # Sec-Fetch-Site of what a person does on our page or in the address bar


class KeyFile:
    """Revoking a key takes effect at the next request. For one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._ring = Keyring()

    def find(self, presented: str) -> ApiKey | None:
        """The key a caller sent, if it is one of ours. Raises BadKeyFile: a damaged file lets nobody in."""
        now = self._look()
        if now != self._seen:
            self._ring = Keyring.read(self._path)
            self._seen = now
        return self._ring.find(presented)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            self._ring = Keyring()
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def presented(headers: Headers) -> str:
    """The key in a request's headers: a bearer token, or the password of HTTP Basic, which browsers ask for.

    A browser adds a password by itself, also to what another site makes it send: that doesn't count.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic" and headers.get("sec-fetch-site", "none") in OUR_OWN:
        return _password(credentials)
    return ""


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
