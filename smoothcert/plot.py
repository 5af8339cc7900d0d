"""Certified accuracy against radius, and the distribution of p_A for logs with evidence."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smoothcert.errors import InvalidRequest
from smoothcert.files import try_writing, write_whole
from smoothcert.schemas.evaluation_log import Log, shares_classified_right

SUFFIXES = (".png", ".svg")
LOG_SUFFIX = re.compile(r"\.[a-z]+$")
PANEL = (4.2, 3.2)  # inches
DPI = 200
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "smoothcert",  # the same identifiers in every file
    "axes.grid": True,
    "grid.alpha": 0.4,
}


def check_plot_path(path: Path) -> None:
    """Raises InvalidRequest if no plot can be written there; called before the computation."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidRequest(f"--plot {path} must end in {' or '.join(SUFFIXES)}.")
    try:
        try_writing(path)
    except OSError as error:
        raise InvalidRequest(f"--plot {path} can't be written: {error.strerror}.") from error


def save_plot(logs: Sequence[Log], path: Path) -> None:
    """Plot the logs into a .png or .svg file; the same logs give the same bytes. Raises InvalidRequest."""
    check_plot_path(path)
    with mpl.rc_context(STYLE):
        save_figure(plot_logs(logs), path)


def save_panels(panels: Sequence[tuple[str, Sequence[Log]]], path: Path) -> None:
    """Certified accuracy against radius, a titled panel a group of logs, as the paper's figures are."""
    check_plot_path(path)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * len(panels), PANEL[1]), layout="constrained")
        for axes, (title, logs) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            axes.set_title(title)
            _plot_accuracy(axes, logs)
        save_figure(figure, path)


def save_survival(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """The share of images that stand at each radius, a curve a name.

    curves: up to which radius each image stands; -1 where it never does, infinite where it always does.
    """
    check_plot_path(path)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        axes = figure.subplots()
        ends = [radius for radii in curves.values() for radius in radii if radius < math.inf]
        limit = 1.05 * max(ends, default=1.0)
        for name, radii in curves.items():
            drops = sorted(radius for radius in radii if radius >= 0)
            shares = [(len(drops) - k) / max(1, len(radii)) for k in range(len(drops) + 1)]
            axes.step([0.0, *(min(radius, 2 * limit) for radius in drops)], shares, where="post", label=name)
        axes.set(xlabel="Radius", ylabel="Share of images right", xlim=(0, limit), ylim=(0, 1))
        axes.legend()
        save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a .png or .svg file without a date, so that it is reproducible. Raises InvalidRequest."""
    kind, encoded = path.suffix.lower().removeprefix("."), io.BytesIO()
    figure.savefig(encoded, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    try:
        write_whole(path, encoded.getvalue())
    except OSError as error:
        raise InvalidRequest(f"--plot {path} can't be written: {error.strerror}.") from error


def plot_logs(logs: Sequence[Log]) -> Figure:
    """One panel; two if a log has evidence. Needs no display."""
    panels = 2 if any(shares_classified_right(log.rows) for log in logs) else 1
    figure = Figure(figsize=(PANEL[0] * panels, PANEL[1]), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _plot_accuracy(axes[0], logs)
    if panels == 2:
        _plot_p_correct(axes[1], logs)
    return figure


def accuracy_curve(log: Log) -> tuple[list[float], list[float]]:
    """Each radius at which certified accuracy drops, and the accuracy from there on."""
    radii = sorted(row.radius for row in log.rows if row.right)
    total = len(log.rows) or 1
    left = [len(radii) - i - 1 for i in range(len(radii))]
    return [0.0, *radii], [len(radii) / total, *(count / total for count in left)]


def _plot_accuracy(axes: Axes, logs: Sequence[Log]) -> None:
    """The share of images that are classified right with at least this radius, one curve a log."""
    for log, label in zip(logs, _labels(logs), strict=True):
        axes.step(*accuracy_curve(log), where="post", label=label)
    axes.set(xlabel="Radius", ylabel="Certified accuracy", ylim=(0, 1))
    axes.set_xlim(left=0)
    if logs:
        axes.legend()


def _plot_p_correct(axes: Axes, logs: Sequence[Log]) -> None:
    for log in logs:
        shares = shares_classified_right(log.rows)
        heights = [(i + 1) / len(shares) for i in range(len(shares))]
        axes.step([0.0, *shares, 1.0], [0.0, *heights, 1.0], where="post")
    axes.set(
        xlabel="Share of noisy copies classified right", ylabel="Share of images", xlim=(0, 1), ylim=(0, 1)
    )


def _labels(logs: Sequence[Log]) -> list[str]:
    """File names without suffix (".25" is none); whole paths if two names are equal."""
    stems = [LOG_SUFFIX.sub("", Path(log.name).name) for log in logs]
    return stems if len(set(stems)) == len(stems) else [log.name for log in logs]
