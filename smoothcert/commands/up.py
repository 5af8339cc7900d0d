"""smoothcert up: service, worker and broker on this machine."""

from typing import Annotated

import typer

from smoothcert.output import show


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the loopback interface.")] = 8000,
) -> None:
    """Start service, worker and broker here.

    Ctrl-C stops them all.
    """
    from smoothcert import up as machine

    machine.up(port, say=show)
