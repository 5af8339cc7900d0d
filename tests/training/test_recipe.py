import pytest

from smoothcert.errors import InvalidRequest
from training.datasets.base import Schedule, dataset_defaults
from training.methods import build_method
from training.methods.consistency import Consistency
from training.recipe import build_recipe, parse_options, shortened


def test_words_become_options_of_the_types_the_method_has() -> None:
    words = ["--weight", "3", "--form=legacy", "--num-noises", "4"]
    assert parse_options("consistency", words) == {"weight": 3.0, "form": "legacy", "num_noises": 4}
    assert parse_options("macer", ["--deferred", "no"]) == {"deferred": False}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--weight"], "--weight needs a value"),
        (["weight", "3"], "'weight' is no option"),
        (["--weight", "much"], "--weight 'much' is not a number"),
        (["--num-noises", "2.5"], "--num-noises '2.5' is not a whole number"),
    ],
)
def test_malformed_options_are_refused(words: list[str], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        parse_options("consistency", words)


def test_an_unknown_option_on_the_command_line_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="no option 'wight'; it has: num_noises, weight"):
        build_recipe("consistency", "mnist", 0.5, options=parse_options("consistency", ["--wight", "3"]))


def test_a_recipe_starts_from_what_was_published() -> None:
    recipe = build_recipe("consistency", "mnist", 0.25, options={})
    assert recipe.architecture == "lenet"
    assert recipe.schedule == dataset_defaults("mnist").schedule
    assert recipe.method == Consistency(sigma=0.25, weight=10.0)


def test_a_shortened_schedule_drops_the_learning_rate_at_the_same_shares() -> None:
    published = Schedule(epochs=90, lr=0.01, lr_step=30)
    assert shortened(published, 9).lr_step == 3
    assert shortened(published, 1).lr_step == 1
    assert shortened(published, 90) == published


def test_a_short_schedule_drops_no_later_than_the_published_one() -> None:
    """The published delay of one epoch is small in 90 epochs and would be large in 9."""
    published = Schedule(epochs=90, lr=0.01, lr_step=30)
    for epochs in (9, 18, 30, 45, 90):
        short = shortened(published, epochs)
        assert short.first_drop / epochs == pytest.approx(published.first_drop / 90, abs=0.6 / epochs)
    assert [shortened(published, 9).lr_at(epoch) for epoch in (2, 3, 5, 6)] == pytest.approx(
        [0.01, 0.001, 0.001, 0.0001]
    )


def test_macer_on_cifar10_takes_its_authors_steps() -> None:
    recipe = build_recipe("macer", "cifar10", 0.5, options={}, channels=3)
    schedule = recipe.schedule
    assert (schedule.epochs, schedule.batch, schedule.weight_decay) == (440, 64, 5e-4)
    assert (schedule.momentum, schedule.first_drop) == (0.9, 200)
    rates = [schedule.lr_at(epoch) for epoch in (0, 199, 200, 399, 400, 439)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
    assert recipe.architecture == "resnet110"
    assert recipe.record()["schedule"]["late"] == 0
    assert build_recipe("macer", "mnist", 0.5, options={}).schedule == dataset_defaults("mnist").schedule


@pytest.mark.parametrize(
    ("dataset", "architecture", "steps"),
    [
        ("mnist", "lenet", (90, 0.01, 30)),
        ("fashion-mnist", "lenet", (90, 0.01, 30)),
        ("cifar10", "resnet110", (150, 0.1, 50)),
        ("folder:imagenet", "resnet50", (90, 0.1, 30)),
    ],
)
@pytest.mark.parametrize("method", ["gaussian", "stability", "consistency", "smoothadv"])
def test_schedules_are_the_published_ones(
    method: str, dataset: str, architecture: str, steps: tuple[int, float, int]
) -> None:
    recipe = build_recipe(method, dataset, 0.5, options={}, channels=1 if "mnist" in dataset else 3)
    assert recipe.architecture == architecture
    assert recipe.schedule == Schedule(
        *steps, batch=256, lr_decay=0.1, momentum=0.9, weight_decay=1e-4, late=1
    )


def test_grey_images_without_published_statistics_stay_as_they_are() -> None:
    recipe = build_recipe("gaussian", "folder:x", 0.5, options={}, channels=1, arch="lenet")
    assert (recipe.mean, recipe.std) == ((0.0,), (1.0,))
    assert len(build_recipe("gaussian", "folder:x", 0.5, options={}, channels=3).mean) == 3


@pytest.mark.parametrize("sigma", [1e-7, 12.5, 0.0])
def test_a_sigma_that_a_card_cannot_hold_is_refused(sigma):
    with pytest.raises(InvalidRequest, match="sigma"):
        build_method("gaussian", "mnist", sigma)
