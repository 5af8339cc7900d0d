"""Declared experiments: their recipes, published figures and differences."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.limits import NAME
from training.log import Evidence, Log, Row
from training.methods import hyperparameters
from training.reproduce.comparison import (
    ArmResult,
    comparison,
    costs,
    measured_scores,
    published_scores,
    same_images,
)
from training.reproduce.experiments import EXPERIMENTS, Arm, find_experiment
from training.reproduce.gaps import log_probability_gaps
from training.reproduce.published import BY_DATASET, MNIST_EVERY_20TH, RADII

ARMS = [arm for experiment in EXPERIMENTS.values() for arm in experiment.arms]
METHODS = ("gaussian", "stability", "consistency", "macer", "smoothadv")
CARD = ModelCard(
    name="shortened",
    architecture="lenet",
    dataset="mnist",
    input_shape=(1, 28, 28),
    labels=list("0123456789"),
    preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
    sigma=0.25,
    method="gaussian",
    training={"epochs": 9},
    weights_sha256="0" * 64,
    data_license="none",
)


def unpadded(table: str) -> str:
    """Markdown without the spaces that align its columns."""
    return re.sub(" +", " ", table)


def unpadded_comparison(results: list[ArmResult]) -> str:
    return unpadded(comparison(results))


def unpadded_costs(results: list[ArmResult]) -> str:
    return unpadded(costs(results))


def row(idx: int, radius: float, *, correct: bool = True) -> Row:
    return Row(idx, 3, 3 if correct else 4, radius, correct, 0.1)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_arms_have_recipes_and_names_of_their_own(name: str) -> None:
    arms = EXPERIMENTS[name].arms
    assert all(NAME.fullmatch(arm.name) for arm in arms)
    methods = {arm.name: arm.recipe(arm.dataset).method for arm in arms}
    assert all(methods[arm.name] == arm.recipe(arm.dataset).method for arm in arms)
    assert len(methods) == len(set(methods.values()))  # ablations share the published recipe, and its name


def test_bundled_names_are_those_of_the_published_recipes() -> None:
    by_default = Arm("consistency", "consistency", "mnist", 1.0, {"weight": 5.0})
    assert by_default.name == "mnist-lenet-consistency-1.00"
    assert (
        Arm("", "consistency", "mnist", 1.0, {"weight": 25}).name == "mnist-lenet-consistency-1.00-weight-25"
    )
    assert (
        Arm("", "consistency", "mnist", 0.5, {"form": "legacy"}).name == "mnist-lenet-consistency-legacy-0.50"
    )


def test_every_arm_but_three_forms_of_the_loss_has_a_published_figure() -> None:
    unpublished = {arm.label for arm in ARMS if published_scores(arm, 1) is None}
    assert unpublished == {"consistency-xent", "consistency-kl", "consistency-mse"}


def test_published_accuracies_match_the_radii_of_their_table() -> None:
    for (_, sigma), figures in (BY_DATASET["mnist"] | MNIST_EVERY_20TH).items():
        assert len(figures.accuracy) == len(RADII["mnist", sigma])
        assert list(figures.accuracy) == sorted(figures.accuracy, reverse=True)


def test_published_figures_of_the_same_images_are_preferred() -> None:
    mnist, cifar10 = (Arm("gaussian", "gaussian", dataset, 0.5) for dataset in ("mnist", "cifar10"))
    assert [getattr(published_scores(mnist, every), "acr", None) for every in (1, 20)] == [1.5581, 1.5370]
    assert same_images(mnist, 20)
    assert not same_images(mnist, 10)
    assert getattr(published_scores(cifar10, 20), "acr", None) == 0.5251
    assert not same_images(cifar10, 20)


def test_a_shortened_recipe_keeps_its_proportions() -> None:
    recipe = Arm("", "smoothadv", "mnist", 0.5).recipe("mnist", 0.1)
    assert (recipe.schedule.epochs, recipe.schedule.lr_step) == (9, 3)
    assert recipe.record()["method"]["warmup"] == 1


def test_measured_figures_and_differences_stand_beside_the_published_ones() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    log = Log("log", (row(0, 0.9), row(20, 0.3), row(40, 0.9, correct=False), row(60, 0.0)), of=80)
    figures = measured_scores(log, RADII["mnist", 0.25])
    assert figures.acr == pytest.approx(0.3)
    assert figures.accuracy == (75.0, 50.0, 25.0, 25.0)
    text = unpadded_comparison(
        [ArmResult(arm, CARD, log, scale=0.1, every=20), ArmResult(replace(arm, label="macer"), every=20)]
    )
    assert "| **gaussian (scale 0.1)** here | 4 | 0.3000 |" in text
    assert "| difference, not like with like | | -0.5984 | -23.9 | -47.3 | -70.4 | -65.9 |" in text
    assert "- gaussian: trained at scale 0.1 (9 epochs), not as published" in text
    assert "- macer: not trained" in text
    rarer = unpadded_comparison([ArmResult(arm, CARD, log, every=100)])
    assert "published, whole test set" in rarer
    assert "every 100th test image here" in rarer
    assert "not like with like" in rarer


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    theirs = published_scores(arm, 20)
    assert theirs is not None
    rows = tuple(row(20 * i, theirs.acr - 0.00001) for i in range(4))
    text = unpadded_comparison([ArmResult(arm, CARD, Log("log", rows, of=80), every=20)])
    assert "| | 0.0000 | +1.1 |" in text


def certified(idx: int, **other: object) -> Row:
    usual = {"n0": 100, "n": 100_000, "alpha": 0.001, "sigma": 0.25, "bound": "one_sided"}
    counts = {"p_lower": 0.9, "p_upper": 0.1, "counts": (0, 0, 0, 95_000, 5_000), "seed": "ab"}
    return replace(row(idx, 0.3), evidence=Evidence(**(usual | counts | other)))  # type: ignore[arg-type]


def test_a_difference_is_unmarked_only_for_the_published_protocol() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    whole = Log("log", tuple(certified(20 * i) for i in range(4)), of=80)
    text = unpadded_comparison([ArmResult(arm, CARD, whole, every=20)])
    assert "| **gaussian** here | 4 |" in text
    assert "| published, the same images |" in text
    assert "| difference |" in text


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"n": 1000}, "n = 1000"),
        ({"alpha": 0.01}, "alpha = 0.01"),
        ({"bound": "runner_up"}, "bound = runner_up"),
        ({"sigma": 0.5}, "sigma = 0.5"),
    ],
)
def test_deviations_from_the_published_protocol_are_in_the_row(other: dict[str, object], said: str) -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    log = Log("log", (*(certified(20 * i) for i in range(3)), certified(60, **other)), of=80)
    text = unpadded_comparison([ArmResult(arm, CARD, log, every=20)])
    assert f"| **gaussian ({said})** here |" in text
    assert "| difference, not like with like |" in text


def test_an_incomplete_log_is_marked_in_the_comparison() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    text = unpadded_comparison(
        [ArmResult(arm, CARD, Log("log", (certified(0), certified(20)), of=80), every=20)]
    )
    assert "| **gaussian (2 of 4 images)** here | 2 |" in text
    assert "| published, all 4 of these images |" in text
    assert "| difference, not like with like |" in text
    assert "- gaussian: 2 of 4 images so far" in text
    unmeasured = unpadded_comparison([ArmResult(arm, CARD, Log("log", (), of=80), every=20)])
    assert "| **gaussian** here | 0 | – |" in unmeasured
    assert "difference" not in unmeasured


def test_costs_of_a_shortened_training_are_marked() -> None:
    training = {"epochs": 15, "seconds": 360.0, "device": "cpu", "note": "beside another run"}
    card = CARD.model_copy(update={"training": training})
    (arm,) = find_experiment("table3").only(["gaussian"]).arms
    text = unpadded_costs([ArmResult(arm, card, Log("log", (certified(0, n=1000),), of=80), scale=0.1)])
    assert "| gaussian (scale 0.1) | 1 | – | 0.10 | cpu | 4.6 |" in text
    assert "- gaussian: trained at scale 0.1 (15 epochs), not as published" in text
    assert "- gaussian: beside another run" in text


def test_hyperparameters_are_the_methods_own_numbers() -> None:
    count = {name: hyperparameters(Arm("", name, "mnist", 0.5).recipe("mnist").method) for name in METHODS}
    assert count == {"gaussian": 1, "stability": 2, "consistency": 3, "macer": 4, "smoothadv": 4}


def test_an_unused_option_is_not_counted_as_a_hyperparameter() -> None:
    legacy = Arm("", "consistency", "mnist", 0.5, {"form": "legacy"})
    assert hyperparameters(legacy.recipe("mnist").method) == 2


def test_gaps_are_the_distance_of_the_right_class_from_the_next() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(2))
    image = torch.tensor([255, 0], dtype=torch.uint8).view(1, 1, 2)
    gaps = log_probability_gaps(network, image, label=0, sigma=0.5)
    # x_0 - x_1 is the gap: mean 1, standard deviation 0.5 * sqrt(2); 4096 copies, five standard errors
    assert float(gaps.mean()) == pytest.approx(1.0, abs=5 * 0.71 / 64)
    assert float(gaps.std()) == pytest.approx(0.71, abs=0.05)


def test_an_unknown_experiment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="table1"):
        find_experiment("table9")
