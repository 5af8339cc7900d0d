"""The keys of those who may call, read from their file again whenever it was replaced."""

from pathlib import Path

from smoothcert.schemas.api_keys import ApiKey, Keyring


class KeyFile:
    """Revoking a key takes effect at the next request. For one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._ring = Keyring()

    def find(self, presented_key: str) -> ApiKey | None:
        """The key a caller sent, if it is one of ours. Raises BadKeyFile: a damaged file lets nobody in."""
        now = self._look()
        if now != self._seen:
            self._ring = Keyring.read(self._path)
            self._seen = now
        return self._ring.find(presented_key)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            self._ring = Keyring()
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
