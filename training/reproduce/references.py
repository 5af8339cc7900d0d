"""Which published figures belong beside a measured row."""

from dataclasses import dataclass, replace

from training.reproduce import Arm
from training.reproduce.published import (
    ACR_BY_NOISES,
    ACR_BY_WEIGHT,
    CIFAR10_EXPECTED,
    CIFAR_RADII,
    EVERY_20TH,
    EXPECTED_AT,
    RADII,
    WHOLE,
    Scores,
    Table,
)

PROTOCOL = {"n0": 100, "n": 100_000, "alpha": 0.001, "bound": "one_sided"}  # of every published figure
EVERY = 20  # the spacing of the images of which published logs are at hand


@dataclass(frozen=True)
class Reference:
    """Published scores beside a measured row. comparable: they are of the same images and as many votes."""

    label: str
    scores: Scores
    comparable: bool


def references(arm: Arm, every: int, n: int | None) -> list[Reference]:
    """What is published of an arm, the closest to a log of every `every`-th image at n votes last."""
    found: list[Reference] = []
    as_published = n in (None, PROTOCOL["n"])
    if (whole := _whole_set(arm)) is not None:
        images = "500 images" if arm.dataset == "imagenet" else "whole test set"
        kind = "printed" if arm.printed else "published"
        whole_set = every == (100 if arm.dataset == "imagenet" else 1)
        found.append(Reference(f"{kind}, {images}", whole, whole_set and as_published))
    if every == EVERY and (same := _scores(EVERY_20TH.get(arm.dataset), arm)) is not None:
        found.append(Reference("published, the same images", same, as_published))
    if every == EVERY and n == EXPECTED_AT and arm.dataset == "cifar10":
        expected = _scores(CIFAR10_EXPECTED, arm)
        name = f"expected of the published log at n = {n}, the same images"
        found += [Reference(name, expected, comparable=True)] if expected else []
    return found


def _whole_set(arm: Arm) -> Scores | None:
    if arm.printed:
        return arm.printed
    changed = arm.options.keys() - {"form"}
    if changed and not arm.key:
        return _ablation(arm)
    return _scores(WHOLE.get(arm.dataset), arm)


def _ablation(arm: Arm) -> Scores | None:
    """The ACR of Consistency at sigma = 1 by weight and by number of noises."""
    by_option = {"weight": ACR_BY_WEIGHT, "num_noises": ACR_BY_NOISES}
    if arm.sigma != 1.0 or "form" in arm.options:
        return None
    ((option, value),) = arm.options.items()
    acr = by_option[option].get(value)
    return None if acr is None else Scores(acr)


def _scores(table: Table | None, arm: Arm) -> Scores | None:
    if not table or (arm.options.keys() - {"form"} and not arm.key):
        return None
    found = table.get((arm.key or arm.label, arm.sigma))
    return found and replace(found, radii=radii_of(arm)[: len(found.accuracy)])


def radii_of(arm: Arm) -> tuple[float, ...]:
    """The radii of an arm's published certified accuracies, else usual ones."""
    if arm.printed and arm.printed.radii:
        return arm.printed.radii
    return (CIFAR_RADII if arm.dataset == "cifar10" else RADII)[arm.sigma]
