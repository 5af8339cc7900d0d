import pytest

from certification.errors import UserMistake
from training.methods.consistency import Consistency
from training.options import build_recipe, parse_options, shortened
from training.recipe import Schedule, data_defaults


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
def test_words_that_are_no_options_are_refused(words: list[str], complaint: str) -> None:
    with pytest.raises(UserMistake, match=complaint):
        parse_options("consistency", words)


def test_an_unknown_option_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserMistake, match="no option 'wight'; it has: num_noises, weight"):
        build_recipe("consistency", "mnist", 0.5, options=parse_options("consistency", ["--wight", "3"]))


def test_a_recipe_starts_from_what_was_published() -> None:
    recipe = build_recipe("consistency", "mnist", 0.25, options={})
    assert recipe.architecture == "lenet"
    assert recipe.schedule == data_defaults("mnist").schedule
    assert recipe.method == Consistency(sigma=0.25, weight=10.0)


def test_a_shortened_schedule_drops_the_learning_rate_at_the_same_shares() -> None:
    published = Schedule(epochs=90, lr=0.01, lr_step=30)
    assert shortened(published, 9).lr_step == 3
    assert shortened(published, 1).lr_step == 1
    assert shortened(published, 90) == published


def test_grey_images_without_published_statistics_stay_as_they_are() -> None:
    recipe = build_recipe("gaussian", "folder:x", 0.5, options={}, channels=1, arch="lenet")
    assert (recipe.mean, recipe.std) == ((0.0,), (1.0,))
    assert len(build_recipe("gaussian", "folder:x", 0.5, options={}, channels=3).mean) == 3
