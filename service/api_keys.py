"""API keys, reloaded whenever their file changes."""

from pathlib import Path

from smoothcert.schemas.api_keys import ApiKey, Keyring


class KeyFile:
    """A file of API keys. A revoked key stops working at the next request. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._ring = Keyring()

    def find(self, presented_key: str) -> ApiKey | None:
        """The API key that the caller sent, or None. Raises BadKeyFile: a damaged file admits no caller."""
        version = self._look()
        if version != self._seen:
            self._ring = Keyring.read(self._path)
            self._seen = version
        return self._ring.find(presented_key)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            self._ring = Keyring()
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
