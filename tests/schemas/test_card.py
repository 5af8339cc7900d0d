import pytest
from pydantic import ValidationError

from smoothcert.schemas.card import Evaluation, Int8, Preprocessing
from tests.support.cards import card_with, measured

ROUNDED = Int8(sha256="b" * 64)


def as_good(full: Evaluation | None, rounded: Evaluation | None) -> bool:
    return card_with(evaluation=full, int8=Int8(sha256="b" * 64, evaluation=rounded)).int8_is_as_good


@pytest.mark.parametrize(("acr", "good"), [(1.63, True), (1.6251, True), (1.6349, True), (1.624, False)])
def test_int8_is_as_good_within_five_thousandths_of_the_radius(acr: float, good: bool) -> None:
    assert as_good(measured(1.63), measured(acr)) == good


def test_int8_is_as_good_whatever_set_ups_measured_the_two() -> None:
    assert as_good(measured(1.63, engine="one"), measured(1.63, engine="another"))


@pytest.mark.parametrize(
    "differs", [{"images": 499}, {"n": 10_000}, {"every": 10}, {"alpha": 0.01}, {"split": "train"},
                {"procedure": "anytime"}, {"n0": 10}, {"bound": "runner_up"}],
)  # fmt: skip
def test_radii_measured_differently_say_nothing_about_int8(differs: dict[str, int]) -> None:
    assert not as_good(measured(1.63), measured(1.63, **differs))


def test_without_both_measurements_int8_is_not_as_good() -> None:
    assert not as_good(None, measured(1.63))
    assert not as_good(measured(1.63), None)
    assert not card_with(evaluation=measured(1.63)).int8_is_as_good


def test_the_rounding_is_part_of_the_classifier_in_int8_only() -> None:
    plain, rounded = card_with(), card_with(int8=ROUNDED)
    other = card_with(int8=Int8(sha256="c" * 64))
    assert plain.classifier_sha256_in("bfloat16") == rounded.classifier_sha256_in("bfloat16")
    digests = {card.classifier_sha256_in("int8") for card in (plain, rounded, other)}
    assert len(digests | {plain.classifier_sha256_in("float32")}) == 4


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGB", 1)])
def test_a_network_for_colour_is_not_fed_grey_nor_the_other_way_round(mode: str, channels: int) -> None:
    look = Preprocessing(mode=mode, mean=(0.0,), std=(1.0,))
    with pytest.raises(ValidationError, match="channels"):
        card_with(input_shape=(channels, 28, 28), preprocessing=look)
