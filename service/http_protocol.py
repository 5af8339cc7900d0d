"""HTTP/1.1 as uvicorn reads it with h11. An offer to upgrade is not taken; the request is answered."""

from uvicorn.protocols.http.h11_impl import H11Protocol


class PlainHttp(H11Protocol):
    """Java's HttpClient and `curl --http2` offer h2c with each first request: no warning is due."""

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.debug("An offer to upgrade was not taken.")
