"""Declared experiments: their recipes, published figures and differences."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.evaluation_log import Evidence, Log, Row
from smoothcert.schemas.limits import NAME
from training.methods import hyperparameters
from training.reproduce import EXPERIMENTS, Arm, find_experiment
from training.reproduce.comparison import OUTSIDE, ArmResult, comparison, costs
from training.reproduce.gaps import Gaps, log_probability_gaps, save_histograms
from training.reproduce.published import EVERY_20TH, RADII, WHOLE, paper_rows
from training.reproduce.references import radii_of, references

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
    recipes = {arm.name: recipe_of(arm) for arm in arms}
    assert all(recipes[arm.name] == recipe_of(arm) for arm in arms)
    assert len(recipes) == len(set(recipes.values()))  # ablations share the published recipe, and its name


def recipe_of(arm: Arm) -> tuple[str, str, object]:
    recipe = arm.recipe(arm.dataset)
    return recipe.dataset, recipe.architecture, recipe.method


def test_bundled_names_are_those_of_the_published_recipes() -> None:
    by_default = Arm("consistency", "consistency", "mnist", 1.0, {"weight": 5.0})
    assert by_default.name == "mnist-lenet-consistency-1.00"
    assert (
        Arm("", "consistency", "mnist", 1.0, {"weight": 25}).name == "mnist-lenet-consistency-1.00-weight-25"
    )
    assert (
        Arm("", "consistency", "mnist", 0.5, {"form": "legacy"}).name == "mnist-lenet-consistency-legacy-0.50"
    )


def test_the_papers_tables_have_all_their_rows_in_its_order() -> None:
    tables = {
        "table1": "table1_cifar10_resnet110",
        "table2": "table2_imagenet_resnet50_500_images",
        "table4": "table4_cifar10_architectures_sigma_0.50",
    }
    for name, printed in tables.items():
        arms, rows = EXPERIMENTS[name].arms, paper_rows(printed)
        assert [arm.printed.acr for arm in arms if arm.printed] == [row["acr"] for row in rows]
        assert [arm.sigma for arm in arms] == [row.get("sigma", 0.5) for row in rows]
        for arm, row in zip(arms, rows, strict=True):
            assert arm.printed
            by_radius = dict(zip(arm.printed.radii, arm.printed.accuracy, strict=True))
            assert by_radius == {float(r): share for r, share in row["certified_accuracy"].items()}
    assert (len(EXPERIMENTS["table1"].arms), len(EXPERIMENTS["table4"].arms)) == (22, 10)
    assert EXPERIMENTS["table2"].every == 100


def options_of(label: str, sigma: float) -> dict[str, object]:
    (arm,) = (arm for arm in EXPERIMENTS["table1"].arms if (arm.label, arm.sigma) == (label, sigma))
    return arm.recipe(arm.dataset).record()["method"]


def test_a_row_with_a_plus_builds_on_the_row_above() -> None:
    simple = options_of("Gaussian + Consistency (λ = 10)", 0.5)
    assert simple.items() >= {"form": "legacy", "weight": 10.0, "num_noises": 2}.items()
    fixed = {"num_noises": 8, "steps": 10, "epsilon": 255.0}
    assert options_of("SmoothAdv", 0.5).items() >= fixed.items()
    both = options_of("SmoothAdv + Consistency (λ = 5)", 0.25)
    assert both.items() >= (fixed | {"form": "legacy", "weight": 5.0}).items()
    searched = {"num_noises": 4, "steps": 2, "epsilon": 512.0}
    assert options_of("SmoothAdv + Hyperparameter search", 1.0).items() >= searched.items()
    assert options_of("SmoothAdv + Consistency (λ = 2)", 1.0).items() >= searched.items()


def test_the_small_networks_of_table_4_are_trained_as_such() -> None:
    networks = [arm.recipe(arm.dataset).architecture for arm in EXPERIMENTS["table4"].arms]
    assert networks == ["resnet20"] * 4 + ["densenet40"] * 6


def test_published_accuracies_match_the_radii_of_their_table() -> None:
    for table in (WHOLE["mnist"], EVERY_20TH["mnist"], EVERY_20TH["fashion-mnist"]):
        for (_, sigma), figures in table.items():
            assert len(figures.accuracy) in (0, len(RADII[sigma]))
            assert list(figures.accuracy) == sorted(figures.accuracy, reverse=True)


def acrs(arm: Arm, every: int, n: int = 100_000) -> list[tuple[float, bool]]:
    return [(found.scores.acr, found.comparable) for found in references(arm, every, n)]


def test_the_closest_published_figures_come_last() -> None:
    mnist = Arm("gaussian", "gaussian", "mnist", 0.5)
    assert acrs(mnist, 1) == [(1.5581, True)]
    assert acrs(mnist, 10) == [(1.5581, False)]
    assert acrs(mnist, 20) == [(1.5581, False), (1.5370, True)]
    assert acrs(mnist, 20, 10_000) == [(1.5581, False), (1.5370, False)]
    cifar10 = Arm("consistency", "consistency", "cifar10", 0.5)
    assert acrs(cifar10, 20) == [(0.7195, False), (0.7073, True)]
    assert acrs(cifar10, 20, 10_000) == [(0.7195, False), (0.7073, False), (0.6396, True)]
    small = Arm("consistency", "consistency", "cifar10", 0.5, key="resnet20-consistency")
    assert acrs(small, 20, 10_000) == [(0.6864, False), (0.6234, True)]


@pytest.mark.parametrize(
    ("name", "label", "sigma", "acr"),
    [
        ("smoothmix", "smoothmix", 0.5, 1.6776),
        ("smoothmix", "smoothmix, η = 1", 1.0, 1.7773),
        ("cat-rs", "cat-rs", 1.0, 1.8306),
        ("mnist-corrected", "smoothadv-consistency", 0.25, 0.9213),
    ],
)
def test_later_methods_stand_beside_their_own_logs(name: str, label: str, sigma: float, acr: float) -> None:
    arm = next(arm for arm in EXPERIMENTS[name].arms if (arm.label, arm.sigma) == (label, sigma))
    assert acrs(arm, 20)[-1] == (acr, True)


def test_every_row_has_a_published_figure_but_those_that_the_paper_only_draws() -> None:
    without = {arm.label for arm in ARMS if not references(arm, 20, 100_000)}
    drawn = {f"{form}, λ = {weight}" for form in ("mse", "kl") for weight in (20, 50, 100)}
    assert without == drawn | {"legacy, λ = 20", "λ = 40", "m = 2", "m = 4", "m = 8"}


def test_an_ablation_has_the_acr_of_its_option() -> None:
    weights = [arm for arm in EXPERIMENTS["figure3"].arms if arm.label == "λ = 15"]
    assert [acrs(arm, 20) for arm in weights] == [[(1.731, False)]]
    noises = [arm for arm in EXPERIMENTS["figure3"].arms if (arm.label, arm.sigma) == ("m = 4", 1.0)]
    assert [acrs(arm, 20) for arm in noises] == [[(1.756, False)]]


def test_a_shortened_recipe_keeps_its_proportions() -> None:
    recipe = Arm("", "smoothadv", "mnist", 0.5).recipe("mnist", 0.1)
    assert (recipe.schedule.epochs, recipe.schedule.lr_step) == (9, 3)
    assert recipe.record()["method"]["warmup"] == 1


def test_measured_figures_and_differences_stand_beside_the_published_ones() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    log = Log("log", (row(0, 0.9), row(20, 0.3), row(40, 0.9, correct=False), row(60, 0.0)), of=80)
    text = unpadded_comparison(
        [ArmResult(arm, CARD, log, scale=0.1, every=20), ArmResult(replace(arm, label="macer"), every=20)]
    )
    assert "| **gaussian (scale 0.1, 1 image in 20)** here | 4 | 0.3000 ± " in text
    assert "| 75.0 ± " in text
    assert "| published, the same images | | 0.8984 | 98.9 |" in text
    # With four images 98.9 % is inside the interval around 75 %, and the ACR of all right is outside.
    assert (
        f"| difference, not like with like | | -0.5984 {OUTSIDE} | -23.9 {OUTSIDE} | -47.3 {OUTSIDE} |"
        in text
    )
    assert "- gaussian: trained at scale 0.1 (9 epochs), not as published" in text
    assert "- macer: not trained" in text
    rarer = unpadded_comparison([ArmResult(arm, CARD, log, every=100)])
    assert "published, whole test set" in rarer
    assert "1 image in 100" in rarer
    assert "not like with like" in rarer


def test_a_difference_within_the_interval_over_images_is_not_marked() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    rows = tuple(certified(20 * i) for i in range(99))
    log = Log("log", (*(replace(r, radius=0.9078) for r in rows), replace(rows[0], correct=False)), of=2000)
    text = unpadded_comparison([ArmResult(arm, CARD, log, every=20)])
    assert "| difference | | +0.0003 | +0.1 | +1.7 | +3.6 | " in text  # .99 * .9078
    assert f"{OUTSIDE} |" in text.split("| difference |")[1]  # at r = .75: 99 % and 90.9 %


def test_the_tables_are_latex_too() -> None:
    arm = Arm("consistency, λ = 5", "gaussian", "mnist", 0.25)
    log = Log("log", (certified(0), certified(20)), of=40)
    text = comparison([ArmResult(arm, CARD, log, every=20)], latex=True)
    assert "\\begin{tabular}" in text
    assert "\\bottomrule" in text
    assert "consistency, $\\lambda$ = 5 (1 image in 20) here" in text
    assert "**" not in text


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    theirs = references(arm, 20, None)[-1].scores
    rows = tuple(row(20 * i, theirs.acr - 0.00001) for i in range(4))
    text = unpadded_comparison([ArmResult(arm, CARD, Log("log", rows, of=80), every=20)])
    assert f"| | 0.0000 {OUTSIDE} | +1.1 |" in text  # all radii are equal: an interval of no length


def certified(idx: int, **other: object) -> Row:
    usual = {"n0": 100, "n": 100_000, "alpha": 0.001, "sigma": 0.25, "bound": "one_sided"}
    counts = {"p_lower": 0.9, "p_upper": 0.1, "counts": (0, 0, 0, 95_000, 5_000), "seed": "ab"}
    return replace(row(idx, 0.3), evidence=Evidence(**(usual | counts | other)))  # type: ignore[arg-type]


def test_a_difference_is_unmarked_only_for_the_published_protocol() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    whole = Log("log", tuple(certified(20 * i) for i in range(4)), of=80)
    text = unpadded_comparison([ArmResult(arm, CARD, whole, every=20)])
    assert "| **gaussian (1 image in 20)** here | 4 |" in text
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
    assert f"| **gaussian ({said}, 1 image in 20)** here |" in text
    assert "| difference, not like with like |" in text


def test_an_incomplete_log_is_marked_in_the_comparison() -> None:
    arm = Arm("gaussian", "gaussian", "mnist", 0.25)
    text = unpadded_comparison(
        [ArmResult(arm, CARD, Log("log", (certified(0), certified(20)), of=80), every=20)]
    )
    assert "| **gaussian (2 of 4 images, 1 image in 20)** here | 2 |" in text
    assert "| difference, not like with like |" in text
    assert "- gaussian: 2 of 4 images so far" in text
    unmeasured = unpadded_comparison([ArmResult(arm, CARD, Log("log", (), of=80), every=20)])
    assert "** here | 0 | – |" in unmeasured
    assert "| difference" not in unmeasured


def test_costs_of_a_shortened_training_are_marked() -> None:
    training = {"epochs": 15, "seconds": 360.0, "device": "cpu", "note": "beside another run"}
    card = CARD.model_copy(update={"training": training})
    (arm,) = find_experiment("table3").only(["gaussian"]).arms
    training["peak_memory_mib"] = 2766
    text = unpadded_costs([ArmResult(arm, card, scale=0.1)])
    assert "| **Gaussian (scale 0.1)** here | 1 | – | 2.9 | 0.10 | cpu |" in text
    assert "| printed | – | 0.525 | 2.9 | 4.6 | TITAN X Pascal |" in text
    assert "- Gaussian: trained at scale 0.1 (15 epochs), not as published" in text
    assert "- Gaussian: beside another run" in text
    measured = unpadded_costs([ArmResult(arm, card, Log("log", (certified(0),), of=1))])
    assert "here | 1 | 0.300 | 2.9 |" in measured


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
    # x_0 - x_1 is the gap: mean 1, standard deviation 0.5 * sqrt(2); 10 000 copies, five standard errors
    assert float(gaps.mean()) == pytest.approx(1.0, abs=5 * 0.71 / 100)
    assert float(gaps.std()) == pytest.approx(0.71, abs=0.05)


def test_figure_1_has_a_panel_for_each_method_beside_consistency(tmp_path: Path) -> None:
    measured = [Gaps(name, np.linspace(-1, i, 50)) for i, name in enumerate(("a", "b", "last"), 1)]
    save_histograms(measured, tmp_path / "figure1.svg")
    save_histograms(measured[-1:], tmp_path / "alone.svg")
    sizes = [(tmp_path / name).read_text().count("Density -->") for name in ("figure1.svg", "alone.svg")]
    assert sizes == [2, 1]


def test_a_whole_name_selects_that_model_alone_and_a_part_all_that_have_it() -> None:
    cat_rs = find_experiment("cat-rs")
    assert [arm.dataset for arm in cat_rs.only(["mnist-lenet-cat-rs-0.50"]).arms] == ["mnist"]
    assert len(cat_rs.only(["0.50"]).arms) == 3
    assert len(cat_rs.only([]).arms) == 9


def test_an_old_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(InvalidRequest, match="mnist-supplement is called mnist-corrected now"):
        find_experiment("mnist-supplement")


def test_the_radii_of_a_table_are_those_that_are_printed() -> None:
    (first, *_) = EXPERIMENTS["table2"].arms
    assert radii_of(first) == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)


def test_an_unknown_experiment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="table1"):
        find_experiment("table9")
