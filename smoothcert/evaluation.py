"""Certifies every k-th image of a data set given in Python, into a table with the field's figures."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smoothcert.classifier import SmoothedClassifier
from smoothcert.environment import how_to_install
from smoothcert.errors import InvalidRequest
from smoothcert.files import shown, write_whole
from smoothcert.notebook import html_table, step_plot
from smoothcert.progress import progress_bar
from smoothcert.schemas.card import INT8
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.evaluation_log import (
    HEADER,
    Evidence,
    Log,
    Row,
    average_certified_radius,
    certified_accuracy,
    format_row,
)
from smoothcert.schemas.evaluation_run import EvaluationRun, run_path
from smoothcert.schemas.limits import image_seed
from smoothcert.schemas.parameters import DEFAULT_ALPHA, DEFAULT_N, DEFAULT_N0, ProcedureName
from smoothcert.stats.procedure import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED_BITS = 64
ABSTAINED = -1
SHOWN_RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Table:
    """An evaluation: one row an image, in order, with the evidence that proves its radius.

    run: what was asked. Radii are l2 with pixels in [0,1]; shares are in [0,1].
    """

    rows: tuple[Row, ...]
    run: EvaluationRun

    @property
    def acr(self) -> float:
        """Average certified radius: mean of radius x correct, where an abstention is not correct."""
        return average_certified_radius(self.rows)

    @property
    def abstention_rate(self) -> float:
        """The share of images without a certified class."""
        return sum(row.abstained for row in self.rows) / max(len(self.rows), 1)

    def certified_accuracy(self, radius: float) -> float:
        """The share of images classified right, with a certified radius above `radius`."""
        return certified_accuracy(self.rows, radius)

    def to_tsv(self, path: str | Path) -> None:
        """Write the log as `smoothcert evaluate` does, and what was asked beside it as `<path>.run.json`.

        `smoothcert report` and `attest` read it. Raises InvalidRequest if a file can't be written.
        """
        log, text = Path(path), HEADER + "".join(map(format_row, self.rows))
        try:
            write_whole(run_path(log), self.run.model_dump_json(indent=1).encode() + b"\n")
            write_whole(log, text.encode())
        except OSError as error:
            raise InvalidRequest(f"{path} can't be written: {error.strerror}.") from error

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Certified accuracy against radius, as a matplotlib figure; also into a .png or .svg file.

        Needs the extra `training`. Raises InvalidRequest.
        """
        try:
            from smoothcert.plot import check_plot_path, plot_logs, save_figure  # noqa: PLC0415
        except ImportError as error:
            raise InvalidRequest(f"plot needs matplotlib: {how_to_install('training')}") from error
        if path is not None:
            check_plot_path(Path(path))
        figure = plot_logs([Log(self.run.model, self.rows)])
        if path is not None:
            save_figure(figure, Path(path))
        return figure

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _repr_html_(self) -> str:
        """For notebooks: the figures, and certified accuracy against radius."""
        farthest = max((row.radius for row in self.rows), default=0.0)
        facts = [
            ("images", str(len(self.rows))),
            ("ACR", f"{self.acr:.4f}"),
            ("abstained", f"{self.abstention_rate:.1%}"),
            *(
                (f"certified at {r:g}", f"{self.certified_accuracy(r):.1%}")
                for r in SHOWN_RADII
                if r < farthest
            ),
        ]
        points = [(r, self.certified_accuracy(r)) for r in sorted({0.0, *(row.radius for row in self.rows)})]
        plot = step_plot(points, "radius", "certified accuracy", highest=1.0)
        return f'<div style="display:flex;align-items:center">{html_table(facts)}{plot}</div>'


def evaluate(  # noqa: PLR0917
    classifier: SmoothedClassifier,
    images: Sequence[Any],
    labels: Sequence[int],
    every: int = 20,
    n: int = DEFAULT_N,
    n0: int = DEFAULT_N0,
    alpha: float = DEFAULT_ALPHA,
    procedure: ProcedureName = "certify",
    seed: int | None = None,
    progress: bool = False,
    dataset: str = "given in Python",
    split: str = "test",
) -> Table:
    """Certify images 0, every, 2 every, ...: the protocol of the field with n = 100 000 and alpha = 0.001.

    images: a sequence, array or tensor of images, each as `SmoothedClassifier.certify` takes it. labels:
    their classes, 0..K-1. procedure: `certify`, as published figures are made, or `anytime`. seed: of the
    whole run, an int. dataset, split: names for the log. Raises BadImage, InvalidRequest.
    """
    _check(classifier, images, labels, every)
    seed = secrets.randbits(SEED_BITS) if seed is None else seed
    run = EvaluationRun(
        model=classifier.card.name,
        weights_sha256=classifier.card.weights_sha256,
        dataset=shown(dataset),
        split=split,
        split_images=len(images),
        every=every,
        procedure=procedure,
        n0=n0,
        n=n,
        alpha=alpha,
        sigma=classifier.card.sigma,
        seed=seed,
        setup=_engine_text(classifier),
        int8_sha256=_int8_sha256(classifier),
    )
    rows: list[Row] = []
    indices = range(0, len(images), every)
    with progress_bar("images", shown=progress) as update:
        for idx in indices:
            rows.append(_row(classifier, images[idx], int(labels[idx]), idx, run))
            update(len(rows), len(indices), f"image {idx}")
    return Table(tuple(rows), run)


def _check(classifier: SmoothedClassifier, images: Sequence[Any], labels: Sequence[int], every: int) -> None:
    if len(images) != len(labels):
        raise InvalidRequest(f"There are {len(images)} images and {len(labels)} labels.")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InvalidRequest(f"every={every!r}: it is a whole number from 1.")
    classes = len(classifier.card.labels)
    for idx in range(0, len(images), every):
        label = np.asarray(labels[idx])
        whole = label.size == 1 and label.dtype.kind in "iuf" and float(label) % 1 == 0
        if not whole or not 0 <= int(label) < classes:
            raise InvalidRequest(f"Label {idx} is {labels[idx]!r}, not a class from 0 to {classes - 1}.")


def _row(classifier: SmoothedClassifier, image: Any, label: int, idx: int, run: EvaluationRun) -> Row:
    began, seed = time.perf_counter(), image_seed(run.seed, idx)
    certificate = classifier.certify(
        image, n=run.n, n0=run.n0, alpha=run.alpha, procedure=run.procedure, seed=seed
    )
    return row_of(certificate, run, idx, label, time.perf_counter() - began)


def row_of(result: Result | Certificate, run: EvaluationRun, idx: int, label: int, seconds: float) -> Row:
    """The log row of one image's result."""
    predict = ABSTAINED if result.predicted_class is None else result.predicted_class
    evidence = Evidence(
        n0=run.n0,
        n=result.n,
        alpha=run.alpha,
        sigma=run.sigma,
        bound=result.bound,
        p_lower=result.p_lower,
        p_upper=result.p_upper,
        counts=tuple(result.counts),
        seed=image_seed(run.seed, idx),
    )
    return Row(idx, label, predict, result.radius, predict == label, seconds, evidence)


def _int8_sha256(classifier: SmoothedClassifier) -> str | None:
    rounding = classifier.card.int8
    return rounding.sha256 if rounding and classifier.engine.description.precision == INT8 else None


def _engine_text(classifier: SmoothedClassifier) -> str:
    engine = classifier.engine.description
    device = "cpu" if engine.device == "cpu" else "cuda"
    return f"{device}:{engine.backend}:{engine.precision}:{engine.batch}"
