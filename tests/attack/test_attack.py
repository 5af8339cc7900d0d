"""The attack where the answer is known: a linear network, whose smoothed classifier has a known l2 radius."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.attack.attack import (
    INSIDE,
    AdversarialExample,
    Attacker,
    AttackResult,
    Attempt,
    Budget,
    Claim,
)
from smoothcert.attack.pgd import Goal, Surrogate, within
from smoothcert.engines.config import EngineConfig

SHAPE = (1, 4, 6)
SIGMA = 0.25
SETUP = EngineConfig("cpu", "eager", "float32", 250, threads=1)
BUDGET = Budget(restarts=3, steps=8, noises=8, votes=20_000, inside_votes=20_000, halvings=4)
# PREDICT sees a share of votes off 1/2 by 4.5 standard errors: a distance of 0.016 sigma sqrt(2 pi).
BLIND = 0.06 * SIGMA
RNG = np.random.default_rng(5)
IMAGE = RNG.integers(0, 256, SHAPE, dtype=np.uint8)

Besieged = Callable[[float, float], AttackResult]  # true radius, claimed radius


def linear(margin: float) -> nn.Module:
    """Three classes: 1 wins here; 2 is `margin` away and 0 three times as far. Unit distances in l2."""
    directions = np.linalg.qr(RNG.normal(size=(IMAGE.size, 2)))[0].T
    layer = nn.Linear(IMAGE.size, 3)
    rows = np.stack([directions[0], np.zeros(IMAGE.size), directions[1]])
    bias = np.array([-3 * margin, 0.0, -margin]) - rows @ (IMAGE.reshape(-1) / 255)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rows))
        layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Flatten(), layer)


def two_class(margin: float) -> nn.Module:
    """Class 1 within `margin` in l2, class 0 beyond: smoothed or not."""
    weights = RNG.normal(size=IMAGE.size)
    weights /= np.linalg.norm(weights)
    layer = nn.Linear(IMAGE.size, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.stack([-weights, weights])))
        bias = margin - float(weights @ (IMAGE.reshape(-1) / 255))
        layer.bias.copy_(torch.tensor([-bias, bias]))
    return nn.Sequential(nn.Flatten(), layer)


def attempts(network: nn.Module, claimed: float, seed: int = 1, budget: Budget = BUDGET) -> list[Attempt]:
    classes = network[1].out_features  # type: ignore[union-attr]
    attacker = Attacker(network, SHAPE, int(classes), config=SETUP, sigma=SIGMA, budget=budget)
    return list(attacker.attempts(Claim(IMAGE, 1, claimed), seed))


def result(network: nn.Module, claimed: float, seed: int = 1) -> AttackResult:
    return AttackResult.of(Claim(IMAGE, 1, claimed), attempts(network, claimed, seed))


@pytest.mark.parametrize("true_radius", [0.1, 0.4, 0.8])
def test_a_true_radius_is_never_broken_inside_and_soon_outside(true_radius: float) -> None:
    for seed in range(3):
        found = result(two_class(true_radius), true_radius, seed)
        assert found.holds
        assert found.broken is not None
        assert true_radius < found.broken < 1.03 * true_radius + BLIND


def test_a_radius_twice_too_large_is_broken_inside_and_the_true_one_found() -> None:
    found = result(two_class(0.4), 0.8)
    assert not found.holds
    assert found.broken is not None
    assert 0.4 < found.broken < 0.4 * 1.1 + BLIND


def test_a_radius_too_large_by_a_tenth_is_broken_too() -> None:
    assert not result(two_class(0.8), 0.88).holds


@pytest.mark.parametrize("true_radius", [0.5 * SIGMA, SIGMA, 3 * SIGMA])
def test_a_radius_three_percent_too_large_is_broken(true_radius: float) -> None:
    """Missed with 20 000 votes at the smaller radii: the share of votes is 1/2 to within 0.006."""
    budget = Budget(restarts=2, steps=6, noises=4)
    tried = attempts(two_class(true_radius), 1.03 * true_radius, budget=budget)
    assert tried[0].found
    assert true_radius < tried[0].found.norm < 1.03 * true_radius


def test_the_resolution_is_where_half_of_the_false_claims_are_seen() -> None:
    """One check at the boundary of what it sees, and at twice that: the seeds are fixed."""
    budget = Budget(restarts=1, steps=2, noises=2, votes=2000, inside_votes=8000)
    assert budget.inside_looks == (2000, 4000, 8000)
    assert Budget(votes=500, inside_votes=100).inside_looks == (500,)
    beyond = budget.resolution(SIGMA)
    found = dict.fromkeys((0.3, 1.0, 2.0), 0)
    for share in found:
        claimed = (0.4 + share * beyond) / INSIDE
        for seed in range(6):
            found[share] += attempts(two_class(0.4), claimed, seed, budget)[0].found is not None
    assert found[0.3] <= 1
    assert 1 <= found[1.0] <= 5
    assert found[2.0] == 6


def test_the_nearest_of_several_classes_is_the_one_reached() -> None:
    tried = attempts(linear(0.3), 0.2)
    broken = [attempt.found for attempt in tried if attempt.found]
    assert {found.reached for found in broken} == {2}


def test_a_class_that_needs_a_longer_way_than_allowed_is_not_reached() -> None:
    tried = attempts(two_class(1.0), 0.1, budget=Budget(restarts=1, steps=4, noises=4, votes=500, farthest=2))
    assert AttackResult.of(Claim(IMAGE, 1, 0.1), tried).broken is None
    assert [attempt.radius for attempt in tried] == pytest.approx(
        [0.0999, 0.124875, 0.15609, 0.19512, 0.2], 1e-3
    )


def test_every_break_is_as_long_as_it_says_and_within_its_attempt() -> None:
    for attempt in attempts(two_class(0.4), 0.3):
        if attempt.found:
            assert attempt.found.norm == pytest.approx(float(np.linalg.norm(attempt.found.eta_CHW)))
            assert attempt.found.norm <= attempt.radius * (1 + 1e-12)


def test_an_attack_repeats_from_its_seed() -> None:
    network = two_class(0.4)

    def norms(seed: int) -> list[float | None]:
        return [one.found and one.found.norm for one in attempts(network, 0.3, seed)]

    assert norms(1) == norms(1) != norms(2)


def test_a_true_radius_is_not_broken_by_looking_more_often() -> None:
    """The claims are exact, so that every break inside is a false alarm. The seeds are fixed."""
    budget = Budget(restarts=1, steps=2, noises=2, votes=500, inside_votes=4000, farthest=1, halvings=1)
    exact = [attempts(two_class(0.4), 0.4 / INSIDE, seed, budget)[0].found for seed in range(60)]
    assert sum(one is not None for one in exact) == 0


def test_alpha_is_shared_among_all_checks_that_could_be_made() -> None:
    never = attempts(two_class(50.0), 0.1)
    closing = attempts(two_class(0.44), 0.115)  # breaks at the last radius, then every halving
    for tried in (never, closing):
        assert sum(one.checks for one in tried) <= BUDGET.alpha / BUDGET.alpha_per_check + 1e-6
    assert len(closing) == BUDGET.radii


def test_findings_are_the_shortest_break() -> None:
    def broken(norm: float) -> AdversarialExample:
        return AdversarialExample(norm, 0, np.zeros(SHAPE))

    claim = Claim(IMAGE, 1, 0.5)
    tried = [Attempt(0.5, 3, None), Attempt(0.7, 1, broken(0.68)), Attempt(0.6, 2, broken(0.6))]
    assert AttackResult.of(claim, tried) == AttackResult(0.5, 0.6, 6)
    assert AttackResult.of(claim, [Attempt(0.5 * INSIDE, 1, broken(0.49))]).holds is False


def test_gradients_are_those_of_the_mean_softmax() -> None:
    """Against differences of the same surrogate with the same noise."""
    network = two_class(0.1).double()
    layer = network[1]
    assert isinstance(layer, nn.Linear)

    def surrogate() -> Surrogate:
        return Surrogate(network.float(), SIGMA, 64, device="cpu", threads=0, seed=3)

    image_CHW = torch.from_numpy(IMAGE / 255)
    gradient = surrogate().gradient(image_CHW, Goal(1))
    away = -layer.weight[1].double().view(SHAPE)
    assert float((gradient * away).sum()) == pytest.approx(1, abs=1e-4)
    reaching = surrogate().gradient(image_CHW, Goal(1, 0))
    assert float((reaching * away).sum()) == pytest.approx(1, abs=1e-4)
    before, after = (surrogate().log_mean(x)[1] for x in (image_CHW, image_CHW + 0.05 * gradient))
    assert after < before


def test_shortening_keeps_what_is_short() -> None:
    eta = torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)
    assert torch.equal(within(eta, 6.0), eta)
    assert float(within(eta, 0.5).norm()) == pytest.approx(0.5)
    assert torch.equal(within(torch.zeros_like(eta), 1.0), torch.zeros_like(eta))


def test_attacking_leaves_the_network_trainable() -> None:
    network = two_class(0.4)
    attempts(network, 0.3, budget=Budget(restarts=1, steps=1, noises=2, votes=500))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_votes_decide_and_not_the_surrogate() -> None:
    """What the climbed network calls another class is no break where the votes abstain."""
    few: NDArray[np.uint8] = IMAGE
    budget = Budget(restarts=1, steps=8, noises=8, votes=20, farthest=1.5, halvings=1)
    attacker = Attacker(two_class(0.4), SHAPE, 2, config=SETUP, sigma=SIGMA, budget=budget)
    assert all(one.found is None for one in attacker.attempts(Claim(few, 1, 0.3), 1))
