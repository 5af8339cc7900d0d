"""Which requests could be answered at all, in closed form: what a 422 names without loading scipy.

The extreme outcome is that every vote goes to one class. Then a bound at level a after n votes is a**(1/n),
and a radius r at noise level sigma needs a**(1/n) > Phi(r/sigma).
"""

import math
from statistics import NormalDist

from certification.contract.parameters import Parameters, ProcedureName

# How the anytime procedure divides alpha; `certification.schedule` lays out the looks with these.
FINAL_SHARE = 0.9  # of alpha, kept for the last look
RUNNER_UP_SHARE = 0.1  # of a look's alpha, for the runner-up's upper bound


def first_look(alpha: float) -> int:
    """Votes before the first of several looks: ten times the least that could certify, at least 32."""
    return max(32, math.ceil(-10 * math.log2(alpha)))


def has_one_look(procedure: ProcedureName, n: int, alpha: float) -> bool:
    """Whether all of alpha goes to one look, at the end: fixed-n procedures, and n too small to divide."""
    return procedure != "anytime" or n < 2 * first_look(alpha)


def final_alpha(procedure: ProcedureName, n: int, alpha: float) -> float:
    """What the top class's lower bound has of alpha at the last look."""
    one = has_one_look(procedure, n, alpha)
    return alpha if one else alpha * FINAL_SHARE * (1 - RUNNER_UP_SHARE)


def least_n(alpha: float, procedure: ProcedureName = "anytime") -> int:
    """The fewest estimation votes that could ever certify: 10 at alpha = 0.001 (11 for `predict`).

    One-sided: 0.5**n < alpha. PREDICT's two-sided test: 2 * 0.5**n <= alpha.
    """
    if procedure == "predict":
        return max(1, math.ceil(1 - math.log2(alpha)))
    return math.floor(-math.log2(alpha)) + 1


def least_n_for_radius(alpha: float, procedure: ProcedureName, sigma: float, radius: float) -> int | None:
    """The fewest estimation votes that could ever prove `radius` (l2, like sigma); None if no number could.

    >>> least_n_for_radius(0.001, "certify", 0.5, 1.0)
    301
    """
    log_p = math.log(NormalDist().cdf(radius / sigma))
    if log_p == 0:  # beyond 8 sigma, where a double can't tell p from 1
        return None
    alone = math.floor(math.log(alpha) / log_p) + 1
    if has_one_look(procedure, alone, alpha):
        return alone
    return math.floor(math.log(final_alpha(procedure, alone, alpha)) / log_p) + 1


def shortage(parameters: Parameters) -> int | None:
    """The least n with which this request could be answered, or None when its own n is enough.

    A target radius counts: one that even unanimous votes couldn't prove is as impossible as n = 9 at alpha
    = 0.001.
    """
    needed = least_n(parameters.alpha, parameters.procedure)
    if parameters.target_radius is not None and parameters.procedure != "predict":
        needed = max(needed, _least_for_target(parameters, parameters.target_radius))
    return needed if parameters.n < needed else None


def _least_for_target(parameters: Parameters, target_radius: float) -> int:
    least = least_n_for_radius(parameters.alpha, parameters.procedure, parameters.sigma, target_radius)
    return least if least is not None else parameters.n + 1
