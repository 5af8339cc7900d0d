"""`python -m service [--host HOST] [--port PORT]`: the service alone, on loopback unless told otherwise."""

import argparse
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.app import create_app

GRACE = 3  # seconds that answers under way get when the service stops


class Server(uvicorn.Server):
    """Uvicorn lets answers under way end by themselves: tell those that wait for a job not to."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self.app = app
        config = uvicorn.Config(
            app, host, port, log_level="warning", server_header=False, timeout_graceful_shutdown=GRACE
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGINT and SIGTERM."""
        self.app.state.closing.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    Server(create_app(), options.host, options.port).run()


if __name__ == "__main__":
    main()
