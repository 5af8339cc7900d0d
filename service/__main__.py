"""`python -m service [--host HOST] [--port PORT]`: the service alone, on loopback unless told otherwise."""

import argparse

import uvicorn

from service.app import create_app

GRACE = 2  # seconds that open event streams get when the service stops


def main() -> None:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(
        create_app(),
        host=options.host,
        port=options.port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()
