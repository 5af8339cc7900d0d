"""Measured results beside the published ones, as Markdown, with every difference of protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tabulate import tabulate

from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.evaluation_log import Log
from training.methods import hyperparameters
from training.report import markdown_table
from training.reproduce import Arm
from training.reproduce.published import Scores, paper_rows
from training.reproduce.references import PROTOCOL, radii_of, references
from training.summary import Summary, summarize

DATASET_TITLES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "imagenet": "ImageNet",
}
MISSING = "–"
OUTSIDE = "†"  # a difference outside the interval over images
OUTSIDE_NOTE = f"±: 95 % interval over images. {OUTSIDE}: the difference is outside of it."
LATEX = {
    "σ": r"$\sigma$",
    "λ": r"$\lambda$",
    "η": r"$\eta$",
    "±": r"$\pm$",
    OUTSIDE: r"$\dagger$",
    MISSING: "--",
}


@dataclass(frozen=True)
class ArmResult:
    """What exists of an arm.

    scale: share of the published epochs that it was trained for. every: spacing of its log's test images.
    """

    arm: Arm
    card: ModelCard | None = None
    log: Log | None = None
    scale: float = 1.0
    every: int = 1

    @property
    def expected_images(self) -> int:
        """Images of a complete log."""
        return -(-((self.log and self.log.of) or 0) // self.every)

    @property
    def complete(self) -> bool:
        return self.log is not None and len(self.log.rows) >= self.expected_images

    @property
    def votes(self) -> int | None:
        """Estimation votes of an image; None without rows, or if they differ."""
        rows = self.log.rows if self.log else ()
        drawn = {row.evidence.n for row in rows if row.evidence and not row.skipped}
        return drawn.pop() if len(drawn) == 1 else None

    @property
    def deviations(self) -> list[str]:
        """How training or protocol differ from the published ones, in a few words each."""
        rows = self.log.rows if self.log else ()
        found = [] if self.scale == 1 else [f"scale {self.scale:g}"]
        for name, published_value in (PROTOCOL | {"sigma": self.arm.sigma}).items():
            evidences = [row.evidence for row in rows if row.evidence and not row.skipped]
            others = {getattr(evidence, name) for evidence in evidences} - {published_value}
            found += [f"{name} = {' or '.join(map(str, sorted(others)[:2]))}"] if others else []
        if self.complete or not rows:
            return found
        return [*found, f"{len(rows)} of {self.expected_images} images"]

    @property
    def label(self) -> str:
        """Its name in tables and plots, with the deviations, as these may be copied without their notes."""
        usual = self.every == (100 if self.arm.dataset == "imagenet" else 1)
        subset = [] if usual or self.log is None else [f"1 image in {self.every}"]
        marks = [*self.deviations, *subset]
        return f"{self.arm.label} ({', '.join(marks)})" if marks else self.arm.label

    @property
    def training_deviates(self) -> bool:
        """Whether more differs than images and votes, which `references` takes into account; mixed n do."""
        return any(not text.startswith("n = ") or self.votes is None for text in self.deviations)

    @property
    def training_label(self) -> str:
        """The same where certification plays no part."""
        return self.arm.label if self.scale == 1 else f"{self.arm.label} (scale {self.scale:g})"


def by_heading(results: Sequence[ArmResult]) -> list[tuple[str, list[ArmResult]]]:
    """The results of each table with its heading, in order."""
    return [(heading, list(group)) for heading, group in groupby(results, key=lambda r: _heading(r.arm))]


def comparison(results: Sequence[ArmResult], *, latex: bool = False) -> str:
    """One table per heading: measured, published, difference; then notes. Markdown, or LaTeX (booktabs)."""
    tables = [_table(heading, group, latex=latex) for heading, group in by_heading(results)]
    return "\n".join([*tables, *([] if latex else [OUTSIDE_NOTE + "\n"])])


def costs(results: Sequence[ArmResult], *, latex: bool = False) -> str:
    """The paper's Table 3: what each method's training took, measured and printed."""
    header = ("", "hyperparameters", "ACR", "peak memory, GB", "hours", "on")
    rows = [row for result in results for row in (_measured_cost(result), _printed_cost(result.arm))]
    notes = [f"- {result.arm.label}: {note}" for result in results for note in _cost_notes(result)]
    return _latex(header, rows) if latex else _with_notes(markdown_table(header, rows), notes)


def _measured_cost(result: ArmResult) -> tuple[str, ...]:
    training = result.card.training if result.card else {}
    hours = f"{training['seconds'] / 3600:.2f}" if "seconds" in training else MISSING
    count = str(hyperparameters(result.arm.recipe(result.arm.dataset).method))
    mib = training.get("peak_memory_mib")
    memory = f"{mib * 2**20 / 1e9:.1f}" if mib else MISSING
    acr = f"{summarize(result.log, ()).acr:.3f}" if result.log and result.log.rows else MISSING
    return f"**{result.label}** here", count, acr, memory, hours, str(training.get("device", MISSING))


def _printed_cost(arm: Arm) -> tuple[str, ...]:
    """The row of Table 3 that has this arm's ACR."""
    rows = {row["acr"]: row for row in paper_rows("table3_cifar10_training_cost_sigma_0.50")}
    assert arm.printed
    row = rows[arm.printed.acr]
    count = MISSING if row["hyperparameters"] is None else str(row["hyperparameters"])
    figures = (f"{row['acr']:.3f}", f"{row['memory_gb']:.1f}", f"{row['hours']:.1f}")
    return "printed", count, *figures, "TITAN X Pascal"


def _heading(arm: Arm) -> str:
    return arm.group or f"{DATASET_TITLES[arm.dataset]}, σ = {arm.sigma:g}"


def _table(heading: str, results: Sequence[ArmResult], *, latex: bool) -> str:
    radii = sorted({radius for result in results for radius in radii_of(result.arm)})
    header = ["", "images", "ACR", *(f"r={r:g}" for r in radii)]
    rows = [row for result in results for row in _rows(result, radii)]
    if latex:
        return f"% {heading}\n{_latex(header, rows)}"
    notes = [f"- {result.arm.label}: {note}" for result in results for note in _notes(result)]
    return f"### {heading}\n\n{_with_notes(markdown_table(header, rows), notes)}"


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    plain = [[cell.replace("**", "") for cell in row] for row in rows]
    text: str = tabulate(plain, list(header), tablefmt="latex_booktabs", disable_numparse=True)
    for sign, command in LATEX.items():
        text = text.replace(sign, command)
    return text + "\n"


def _rows(result: ArmResult, radii: Sequence[float]) -> Iterator[list[str]]:
    """Measured, each published row, and the difference from the closest of them."""
    log = result.log
    measured = summarize(log, [f"{r:g}" for r in radii]) if log and log.rows else None
    images = str(len(log.rows)) if log else MISSING
    empty = [MISSING] * (len(radii) + 1)
    yield [f"**{result.label}** here", images, *(_measured_cells(measured) if measured else empty)]
    known = references(result.arm, result.every, result.votes)
    for reference in known:
        scores = reference.scores
        yield [reference.label, "", f"{scores.acr:.4f}", *(_accuracy_cell(scores.at(r)) for r in radii)]
    if measured and known:
        comparable = known[-1].comparable and not result.training_deviates
        name = "difference" if comparable else "difference, not like with like"
        yield [name, "", *_difference_cells(measured, known[-1].scores, radii)]


def _measured_cells(measured: Summary) -> list[str]:
    intervals = zip(measured.certified_accuracy, measured.certified_accuracy_intervals, strict=True)
    accuracy = [
        f"{100 * share:.1f} ± {100 * max(high - share, share - low):.1f}" for share, (low, high) in intervals
    ]
    return [f"{measured.acr:.4f} ± {measured.acr_interval[1] - measured.acr:.4f}", *accuracy]


def _difference_cells(measured: Summary, scores: Scores, radii: Sequence[float]) -> Iterator[str]:
    """Differences, marked where they are outside the interval over images."""
    low, high = measured.acr_interval
    yield _difference(measured.acr - scores.acr, 4, outside=not low <= scores.acr <= high)
    for radius, share, (low, high) in zip(
        radii, measured.certified_accuracy, measured.certified_accuracy_intervals, strict=True
    ):
        known = scores.at(radius)
        if known is None:
            yield MISSING
        else:
            yield _difference(100 * share - known, 1, outside=not low <= known / 100 <= high)


def _accuracy_cell(accuracy: float | None) -> str:
    return MISSING if accuracy is None else f"{accuracy:.1f}"


def _difference(value: float, digits: int, *, outside: bool) -> str:
    """With a sign unless it rounds to 0."""
    text = f"{value:z.{digits}f}"
    return (f"{value:+.{digits}f}" if float(text) else text) + (f" {OUTSIDE}" if outside else "")


def _notes(result: ArmResult) -> Iterator[str]:
    yield from _training_notes(result)
    if result.card is None:
        return
    if result.log is None or not result.log.rows:
        yield "not evaluated"
        return
    if not result.complete:
        yield f"{len(result.log.rows)} of {result.expected_images} images so far"
    votes = {row.evidence.n for row in result.log.rows if row.evidence} - {PROTOCOL["n"]}
    if votes:
        drawn = ", ".join(map(str, sorted(votes)))
        yield f"certified with n = {drawn} votes, not {PROTOCOL['n']}: other radii"


def _training_notes(result: ArmResult) -> Iterator[str]:
    if result.card is None:
        yield "not trained"
    elif result.scale != 1:
        epochs = result.card.training.get("epochs")
        yield f"trained at scale {result.scale:g} ({epochs} epochs), not as published"


def _cost_notes(result: ArmResult) -> Iterator[str]:
    yield from _training_notes(result)
    if result.card and "note" in result.card.training:
        yield str(result.card.training["note"])


def _with_notes(table: str, notes: Sequence[str]) -> str:
    return "\n".join([table, *(["", *notes] if notes else [])]) + "\n"
