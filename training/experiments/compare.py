"""Measured beside published, as Markdown, with what makes the two not the same thing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from smoothcert.schemas.card import ModelCard
from training.experiments.experiment import Arm, Figures
from training.experiments.published import HOURS, OTHER_RADII, RADII, published, same_images
from training.log import Log
from training.methods import hyperparameters
from training.summary import average_certified_radius, certified_accuracy

DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}
NONE = "–"
PROTOCOL = {"n0": 100, "n": 100_000, "alpha": 0.001, "bound": "one_sided"}  # of every published figure


@dataclass(frozen=True)
class Outcome:
    """An arm with what there is of it.

    scale: the share of the published epochs that it was trained for. every: which test images its log has.
    """

    arm: Arm
    card: ModelCard | None = None
    log: Log | None = None
    scale: float = 1.0
    every: int = 1

    @property
    def expected(self) -> int:
        """Images that a whole log has."""
        return -(-((self.log and self.log.of) or 0) // self.every)

    @property
    def whole(self) -> bool:
        return self.log is not None and len(self.log.rows) >= self.expected

    @property
    def unlike(self) -> list[str]:
        """What makes its figures no measurement of the published thing, in few words."""
        rows = self.log.rows if self.log else ()
        found = [] if self.scale == 1 else [f"scale {self.scale:g}"]
        for name, there in (PROTOCOL | {"sigma": self.arm.sigma}).items():
            here = {getattr(row.evidence, name) for row in rows if row.evidence} - {there}
            found += [f"{name} = {' or '.join(map(str, sorted(here)[:2]))}"] if here else []
        return found if self.whole or not rows else [*found, f"{len(rows)} of {self.expected} images"]

    @property
    def label(self) -> str:
        """Its name in tables and plots, which get copied without their notes."""
        return f"{self.arm.label} ({', '.join(self.unlike)})" if self.unlike else self.arm.label

    @property
    def trained_label(self) -> str:
        """The same where its certification plays no part."""
        return self.arm.label if self.scale == 1 else f"{self.arm.label} (scale {self.scale:g})"


def heading(arm: Arm) -> str:
    """What a table of arms is about."""
    return arm.group or f"{DATASETS[arm.dataset]}, σ = {arm.sigma:g}"


def by_heading(outcomes: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
    """The outcomes of each table, in their order."""
    return [(head, list(some)) for head, some in groupby(outcomes, key=lambda o: heading(o.arm))]


def comparison(outcomes: Sequence[Outcome]) -> str:
    """One table a heading: here, published, difference; then what to know of them."""
    return "\n".join(_table(head, some) for head, some in by_heading(outcomes))


def measured(log: Log, radii: Sequence[float]) -> Figures:
    """ACR and certified accuracies in %."""
    return Figures(
        average_certified_radius(log.rows), tuple(100 * certified_accuracy(log.rows, r) for r in radii)
    )


def costs(outcomes: Sequence[Outcome]) -> str:
    """The paper's Table 3: what each method's training took, here and there."""
    heads = ("", "hyperparameters", "peak memory, MiB", "hours", "on", "hours, TITAN X Pascal (published)")
    rows = [_line(heads), "|---|---:|---:|---:|---|---:|"]
    for outcome in outcomes:
        training = outcome.card.training if outcome.card else {}
        hours = f"{training['seconds'] / 3600:.2f}" if "seconds" in training else NONE
        count = str(hyperparameters(outcome.arm.recipe(outcome.arm.dataset).method))
        memory, device = (str(training.get(key, NONE)) for key in ("peak_memory_mib", "device"))
        there = f"{HOURS[outcome.arm.label]:.1f}"
        rows.append(_line((outcome.trained_label, count, memory, hours, device, there)))
    notes = [f"- {outcome.arm.label}: {note}" for outcome in outcomes for note in _cost_notes(outcome)]
    return "\n".join([*rows, *_listed(notes)]) + "\n"


def _table(head: str, outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0].arm
    radii = RADII.get((first.dataset, first.sigma), OTHER_RADII)
    lines = [
        f"### {head}",
        "",
        _line(["", "images", "ACR", *(f"r={r:g}" for r in radii)]),
        "|---" + "|---:" * (len(radii) + 2) + "|",
    ]
    for outcome in outcomes:
        lines += _rows(outcome, radii)
    notes = [f"- {outcome.arm.label}: {note}" for outcome in outcomes for note in _notes(outcome)]
    return "\n".join([*lines, *_listed(notes)]) + "\n"


def _rows(outcome: Outcome, radii: Sequence[float]) -> Iterator[str]:
    """Here, there and the difference."""
    arm, theirs = outcome.arm, published(outcome.arm, outcome.every)
    ours = measured(outcome.log, radii) if outcome.log and outcome.log.rows else None
    images = str(len(outcome.log.rows)) if outcome.log else NONE
    yield _line([f"**{outcome.label}** here", images, *_cells(ours, len(radii))])
    if theirs is not None:
        yield _line([f"published, {_whose(outcome)}", "", *_cells(theirs, len(radii))])
    if ours is not None and theirs is not None:
        gap = Figures(ours.acr - theirs.acr, _differences(ours.accuracy, theirs.accuracy))
        alike = same_images(arm, outcome.every) and not outcome.unlike
        name = "difference" if alike else "difference, not like with like"
        yield _line([name, "", *_cells(gap, len(radii), sign="+")])


def _whose(outcome: Outcome) -> str:
    if not same_images(outcome.arm, outcome.every):
        return "whole test set"
    partial = outcome.log is not None and not outcome.whole
    return f"all {outcome.expected} of these images" if partial else "the same images"


def _differences(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(ours, theirs, strict=False))  # nothing where only the ACR is known


def _cells(figures: Figures | None, radii: int, sign: str = "") -> list[str]:
    if figures is None:
        return [NONE] * (radii + 1)
    accuracy = [_number(share, 1, sign) for share in figures.accuracy]
    return [_number(figures.acr, 4, sign), *accuracy, *[NONE] * (radii - len(accuracy))]


def _number(value: float, digits: int, sign: str) -> str:
    """What rounds to 0 has no sign."""
    text = f"{value:z.{digits}f}"
    return f"{value:{sign}.{digits}f}" if float(text) else text


def _notes(outcome: Outcome) -> Iterator[str]:
    yield from _training_notes(outcome)
    if outcome.card is None:
        return
    if outcome.log is None or not outcome.log.rows:
        yield "not evaluated"
        return
    if not outcome.whole:
        yield f"{len(outcome.log.rows)} of {outcome.expected} images so far"
    votes = {row.evidence.n for row in outcome.log.rows if row.evidence} - {PROTOCOL["n"]}
    if votes:
        drawn = ", ".join(map(str, sorted(votes)))
        yield f"certified with n = {drawn} votes, not {PROTOCOL['n']}: other radii"
    if not same_images(outcome.arm, outcome.every):
        yield f"every {outcome.every}th test image here, the whole test set there"


def _training_notes(outcome: Outcome) -> Iterator[str]:
    if outcome.card is None:
        yield "not trained"
    elif outcome.scale != 1:
        epochs = outcome.card.training.get("epochs")
        yield f"trained at scale {outcome.scale:g} ({epochs} epochs), not as published"


def _cost_notes(outcome: Outcome) -> Iterator[str]:
    yield from _training_notes(outcome)
    if outcome.card and "note" in outcome.card.training:
        yield str(outcome.card.training["note"])


def _listed(notes: Sequence[str]) -> list[str]:
    return ["", *notes] if notes else []


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
