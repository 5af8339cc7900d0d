"""smoothcert report: what evaluation logs say, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli.output import show


def report(
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="Evaluation logs, ours or six columns.")
    ],
    radii: Annotated[
        str | None,
        typer.Option(help="Radii of the certified-accuracy columns.  [default: 0,0.25 and so on to 2.5]"),
    ] = None,
    format_name: Annotated[str, typer.Option("--format", help="markdown, csv, latex or json.")] = "markdown",
    seeds: Annotated[
        bool, typer.Option("--seeds", help="The logs are seeds of one recipe: add their mean.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certified accuracy against radius, .png or .svg.")
    ] = None,
) -> None:
    """Say what evaluation logs amount to.

    ACR, certified accuracy at each radius and abstention rate, with warnings where figures mislead.
    """
    from training.report import DEFAULT_RADII, make_report, parse_radii, render, with_mean

    if plot is not None:
        from smoothcert.plot import check_plot_path, save_plot

        check_plot_path(plot)
    made = make_report(logs, parse_radii(radii or DEFAULT_RADII))
    show(render(with_mean(made) if seeds else made, format_name))
    if plot is not None:
        save_plot(made.logs, plot)
