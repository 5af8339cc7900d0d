"""HTTP/1.1 by h11. A request that offers to upgrade is served without upgrading."""

from uvicorn.protocols.http.h11_impl import H11Protocol


class PlainHttp(H11Protocol):
    """Java's HttpClient and `curl --http2` offer h2c in each first request, so uvicorn's warning is noise."""

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.debug("An offer to upgrade was not taken.")
