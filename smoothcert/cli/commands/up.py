"""smoothcert up: service, worker and broker on this machine."""

from typing import Annotated

import typer

from smoothcert.cli.output import show


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the service listens.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Its address; without API keys (`smoothcert keys`) a loopback one.")
    ] = "127.0.0.1",
) -> None:
    """Start service, worker and broker here.

    Ctrl-C stops them all.
    """
    from smoothcert.cli import up as machine

    machine.up(port, say=show, host=host)
