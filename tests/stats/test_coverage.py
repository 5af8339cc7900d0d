"""Does the claim hold as often as it says? Simulated at alpha = 0.05, so that violations can be counted.

A run violates the simultaneous claim when the radius of any look exceeds the true one. With V violations in
20 000 runs a check fails when V exceeds the 1 - 1e-6 quantile of Binomial(20 000, 0.05), 1147: a sound
procedure fails it with probability below 1e-6 each (seeds are fixed, so never twice differently).
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from smoothcert.schemas.certificate import Look
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.bounds import result_of_pair
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.schedule import look_schedule
from smoothcert.testing import KnownVotes, LinearVotes

ALPHA = 0.05
RUNS = 20_000
FALSE_ALARM = 1e-6

Ints = NDArray[np.int64]
TWO_CLASSES = [[0.5, 0.5], [0.45, 0.55], [0.6, 0.4], [0.9, 0.1], [0.9995, 0.0005]]
MANY_CLASSES = [[0.34, 0.33, 0.33], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]


def parameters(**options: object) -> Parameters:
    return Parameters.model_validate({"sigma": 1.0, "alpha": ALPHA, "n": 2000} | options)


def allowed(runs: int) -> int:
    return int(stats.binom.ppf(1 - FALSE_ALARM, runs, ALPHA))


def true_radius(probabilities: list[float]) -> float:
    """Of class 0: below 0 where another class leads."""
    quantiles = stats.norm.ppf([probabilities[0], max(probabilities[1:])])
    return float(quantiles[0] - quantiles[1]) / 2


def largest_radii(probabilities: list[float], looks: tuple[Look, ...], seed: int = 1) -> NDArray[np.float64]:
    """The largest radius over the looks in each of RUNS runs, with class 0 chosen beforehand."""
    rng = np.random.default_rng(seed)
    counts_RK = np.zeros((RUNS, len(probabilities)), dtype=np.int64)
    best_R, drawn = np.zeros(RUNS), 0
    for look in looks:
        counts_RK += rng.multinomial(look.n - drawn, probabilities, size=RUNS)
        drawn = look.n
        best_R = np.maximum(best_R, radii(counts_RK, look))
    return best_R


def radii(counts_RK: Ints, look: Look) -> NDArray[np.float64]:
    """Every run's radius at one look, each different pair of counts read once."""
    pairs_R = counts_RK[:, 0] * (look.n + 1) + counts_RK[:, 1:].max(
        axis=1
    )  # one integer a pair: quick to sort
    distinct, where = np.unique(pairs_R, return_inverse=True)
    pairs = [divmod(int(pair), look.n + 1) for pair in distinct]
    values = [result_of_pair(top, second, look.n, look, 1.0).radius for top, second in pairs]
    return np.array(values)[where]


def violations(probabilities: list[float], looks: tuple[Look, ...]) -> int:
    return int((largest_radii(probabilities, looks) > max(true_radius(probabilities), 0)).sum())


@pytest.mark.parametrize("probabilities", TWO_CLASSES + MANY_CLASSES)
@pytest.mark.parametrize("wish", [{}, {"tolerance": 0.05}])
def test_all_looks_hold_at_once_at_least_as_often_as_promised(
    probabilities: list[float], wish: dict[str, float]
) -> None:
    assert violations(probabilities, look_schedule(parameters(**wish)).looks) <= allowed(RUNS)


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
def test_alpha_is_not_left_unspent(probabilities: list[float]) -> None:
    assert violations(probabilities, look_schedule(parameters()).looks) > 0.5 * ALPHA * RUNS


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
def test_a_plain_bound_at_every_look_is_caught_by_the_same_check(probabilities: list[float]) -> None:
    plain = tuple(Look(n=look.n, alpha=ALPHA) for look in look_schedule(parameters()).looks)
    assert violations(probabilities, plain) > 1.5 * allowed(RUNS)


@pytest.mark.parametrize("wish", [{}, {"tolerance": 0.1}, {"target_radius": 0.2}])
def test_whole_certifications_hold_wherever_they_stop(wish: dict[str, float]) -> None:
    runs, probabilities = 400, [0.6, 0.4]
    wrong = 0
    for seed in range(runs):
        certification = Certification(parameters(n=500, n0=20, **wish), 2)
        for _ in drive(certification, KnownVotes(probabilities, seed), 500):
            pass
        result = certification.result
        wrong += result.radius > (true_radius(probabilities) if result.predicted_class == 0 else 0)
    assert wrong <= allowed(runs)


@pytest.mark.parametrize("procedure", ["anytime", "certify"])
def test_a_linear_classifier_is_never_certified_beyond_its_margin_more_often_than_alpha(
    procedure: str,
) -> None:
    runs, rng = 600, np.random.default_rng(5)
    wrong, shares = 0, []
    for seed in range(runs):
        weights = rng.normal(size=8)
        margin = rng.normal() * np.linalg.norm(weights)
        source = LinearVotes(weights, margin, sigma=1.0, seed=seed)
        certification = Certification(parameters(n=400, n0=20, procedure=procedure), 2)
        for _ in drive(certification, source, 400):
            pass
        result = certification.result
        right = result.predicted_class == int(margin > 0)
        wrong += result.radius > (source.true_radius if right else 0)
        shares.append(result.radius / source.true_radius)
    assert wrong <= allowed(runs)
    assert np.median(shares) > 0.7  # and yet most of the margin is proved
