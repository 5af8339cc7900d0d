"""Measured results beside the published ones, as Markdown, with every difference of protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from smoothcert.schemas.card import ModelCard
from training.log import Log, average_certified_radius, certified_accuracy
from training.methods import hyperparameters
from training.report import markdown_table
from training.reproduce.experiments import Arm
from training.reproduce.published import (
    ACR_BY_NOISES,
    ACR_BY_WEIGHT,
    BY_DATASET,
    HOURS,
    MNIST_EVERY_20TH,
    OTHER_RADII,
    RADII,
    Scores,
)

DATASET_TITLES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "imagenet": "ImageNet",
}
MISSING = "–"
PROTOCOL = {"n0": 100, "n": 100_000, "alpha": 0.001, "bound": "one_sided"}  # of every published figure


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
    def deviations(self) -> list[str]:
        """How training or protocol differ from the published ones, in a few words each."""
        rows = self.log.rows if self.log else ()
        found = [] if self.scale == 1 else [f"scale {self.scale:g}"]
        for name, published_value in (PROTOCOL | {"sigma": self.arm.sigma}).items():
            others = {getattr(row.evidence, name) for row in rows if row.evidence} - {published_value}
            found += [f"{name} = {' or '.join(map(str, sorted(others)[:2]))}"] if others else []
        if self.complete or not rows:
            return found
        return [*found, f"{len(rows)} of {self.expected_images} images"]

    @property
    def label(self) -> str:
        """Its name in tables and plots, with the deviations, as these may be copied without their notes."""
        return f"{self.arm.label} ({', '.join(self.deviations)})" if self.deviations else self.arm.label

    @property
    def training_label(self) -> str:
        """The same where certification plays no part."""
        return self.arm.label if self.scale == 1 else f"{self.arm.label} (scale {self.scale:g})"


def published_scores(arm: Arm, every: int) -> Scores | None:
    """The published scores: of the same 500 MNIST images if these are certified, else of all images."""
    if arm.options.keys() - {"form"}:
        by_option = {"weight": ACR_BY_WEIGHT, "num_noises": ACR_BY_NOISES}
        ((option, value),) = arm.options.items()
        return Scores(by_option[option][value])
    by_label = MNIST_EVERY_20TH if (arm.dataset, every) == ("mnist", 20) else BY_DATASET[arm.dataset]
    return by_label.get((arm.label, arm.sigma))


def same_images(arm: Arm, every: int) -> bool:
    """Whether scores of exactly these images are published."""
    whole = every == 1 or arm.dataset == "imagenet"
    return whole or (every == 20 and arm.dataset == "mnist" and not arm.options.keys() - {"form"})


def measured_scores(log: Log, radii: Sequence[float]) -> Scores:
    """ACR and certified accuracies in %."""
    return Scores(
        average_certified_radius(log.rows), tuple(100 * certified_accuracy(log.rows, r) for r in radii)
    )


def by_heading(results: Sequence[ArmResult]) -> list[tuple[str, list[ArmResult]]]:
    """The results of each table with its heading, in order."""
    return [(heading, list(group)) for heading, group in groupby(results, key=lambda r: _heading(r.arm))]


def comparison(results: Sequence[ArmResult]) -> str:
    """One table per heading: measured, published, difference; then notes."""
    return "\n".join(_table(heading, group) for heading, group in by_heading(results))


def costs(results: Sequence[ArmResult]) -> str:
    """The paper's Table 3: what each method's training took, measured and published."""
    header = ("", "hyperparameters", "peak memory, MiB", "hours", "on", "hours, TITAN X Pascal (published)")
    rows = []
    for result in results:
        training = result.card.training if result.card else {}
        hours = f"{training['seconds'] / 3600:.2f}" if "seconds" in training else MISSING
        count = str(hyperparameters(result.arm.recipe(result.arm.dataset).method))
        memory, device = (str(training.get(key, MISSING)) for key in ("peak_memory_mib", "device"))
        published = f"{HOURS[result.arm.label]:.1f}"
        rows.append((result.training_label, count, memory, hours, device, published))
    return _with_notes(
        markdown_table(header, rows),
        [f"- {result.arm.label}: {note}" for result in results for note in _cost_notes(result)],
    )


def _heading(arm: Arm) -> str:
    return arm.group or f"{DATASET_TITLES[arm.dataset]}, σ = {arm.sigma:g}"


def _table(heading: str, results: Sequence[ArmResult]) -> str:
    first = results[0].arm
    radii = RADII.get((first.dataset, first.sigma), OTHER_RADII)
    header = ["", "images", "ACR", *(f"r={r:g}" for r in radii)]
    rows = [row for result in results for row in _rows(result, radii)]
    notes = [f"- {result.arm.label}: {note}" for result in results for note in _notes(result)]
    return f"### {heading}\n\n{_with_notes(markdown_table(header, rows), notes)}"


def _rows(result: ArmResult, radii: Sequence[float]) -> Iterator[list[str]]:
    """Measured, published, difference."""
    published = published_scores(result.arm, result.every)
    measured = measured_scores(result.log, radii) if result.log and result.log.rows else None
    images = str(len(result.log.rows)) if result.log else MISSING
    yield [f"**{result.label}** here", images, *_cells(measured, len(radii))]
    if published is not None:
        yield [f"published, {_published_images(result)}", "", *_cells(published, len(radii))]
    if measured is not None and published is not None:
        # Only the ACR differs where no accuracies are published.
        accuracy = tuple(a - b for a, b in zip(measured.accuracy, published.accuracy, strict=False))
        difference = Scores(measured.acr - published.acr, accuracy)
        comparable = same_images(result.arm, result.every) and not result.deviations
        name = "difference" if comparable else "difference, not like with like"
        yield [name, "", *_cells(difference, len(radii), sign="+")]


def _published_images(result: ArmResult) -> str:
    if not same_images(result.arm, result.every):
        return "whole test set"
    partial = result.log is not None and not result.complete
    return f"all {result.expected_images} of these images" if partial else "the same images"


def _cells(scores: Scores | None, radii: int, sign: str = "") -> list[str]:
    if scores is None:
        return [MISSING] * (radii + 1)
    accuracy = [_number(share, 1, sign) for share in scores.accuracy]
    return [_number(scores.acr, 4, sign), *accuracy, *[MISSING] * (radii - len(accuracy))]


def _number(value: float, digits: int, sign: str) -> str:
    """Without a sign if it rounds to 0."""
    text = f"{value:z.{digits}f}"
    return f"{value:{sign}.{digits}f}" if float(text) else text


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
    if not same_images(result.arm, result.every):
        yield f"every {result.every}th test image here, the whole test set there"


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
