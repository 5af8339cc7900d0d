"""Which requests could be answered at all, in closed form: what a 422 names without loading scipy.

The extreme outcome is that every vote goes to one class. Then a bound at level a after n votes is a**(1/n),
and a radius r at noise level sigma needs a**(1/n) > Phi(r/sigma).
"""

import math
from statistics import NormalDist

from smoothcert.errors import ImpossibleRequest
from smoothcert.schemas.parameters import MAX_N, Parameters, ProcedureName

# How the anytime procedure divides alpha; `smoothcert.stats.schedule` lays out the looks with these.
FINAL_SHARE = 0.9  # of alpha, kept for the last look
FINAL_SHARE_WHEN_STOPPING = 0.5  # where a target or a tolerance makes an earlier look the likely last one
RUNNER_UP_SHARE = 0.1  # of a look's alpha, for the runner-up's upper bound


def first_look(alpha: float) -> int:
    """Votes before the first of several looks: ten times the least that could certify, at least 32."""
    return max(32, math.ceil(-10 * math.log2(alpha)))


def has_one_look(procedure: ProcedureName, n: int, alpha: float) -> bool:
    """Whether all of alpha goes to one look, at the end: fixed-n procedures, and n too small to divide."""
    return procedure != "anytime" or n < 2 * first_look(alpha)


def final_share(parameters: Parameters) -> float:
    """The share of alpha that the last of several looks has."""
    stops_early = parameters.target_radius is not None or parameters.tolerance is not None
    return FINAL_SHARE_WHEN_STOPPING if stops_early else FINAL_SHARE


def least_n(alpha: float, procedure: ProcedureName = "anytime") -> int:
    """The fewest estimation votes that could ever certify: 10 at alpha = 0.001 (11 for `predict`).

    One-sided: 0.5**n < alpha. PREDICT's two-sided test: 2 * 0.5**n < alpha (at equality its margin abstains).
    """
    if procedure == "predict":
        return math.floor(1 - math.log2(alpha)) + 1
    return math.floor(-math.log2(alpha)) + 1


def refuse_impossible(parameters: Parameters) -> None:
    """Raise ImpossibleRequest when no outcome of the votes could certify, or reach the target radius.

    It names the least n that could, or, where not even the most votes allowed could, the largest radius.
    """
    least, target = shortage(parameters), parameters.target_radius
    if least is None:
        return
    if least > MAX_N:
        largest = largest_radius(parameters.model_copy(update={"n": MAX_N}))
        raise ImpossibleRequest(
            f"No n can prove radius {target}: at sigma = {parameters.sigma} and alpha = {parameters.alpha} "
            f"the most votes allowed, {MAX_N}, prove at most {math.floor(largest * 1000) / 1000}."
        )
    what = "certify anything" if target is None else f"prove radius {target}"
    raise ImpossibleRequest(
        f"n = {parameters.n} votes can never {what} at alpha = {parameters.alpha}: the least n is {least}.",
        least_n=least,
    )


def largest_radius(parameters: Parameters) -> float:
    """The radius that n equal votes prove at the last look; 0 where they prove none."""
    alpha = parameters.alpha
    if not has_one_look(parameters.procedure, parameters.n, alpha):
        alpha *= final_share(parameters) * (1 - RUNNER_UP_SHARE)
    p_lower: float = alpha ** (1 / parameters.n)
    return parameters.sigma * NormalDist().inv_cdf(p_lower) if 0.5 < p_lower < 1 else 0.0


def shortage(parameters: Parameters) -> int | None:
    """The least n with which this request could be answered, or None when its own n is enough.

    A target radius counts: one that even unanimous votes couldn't prove is as impossible as n = 9 at 0.001.
    """
    needed = least_n(parameters.alpha, parameters.procedure)
    if parameters.target_radius is not None and parameters.procedure != "predict":
        needed = max(needed, _least_for_target(parameters, parameters.target_radius))
    return needed if parameters.n < needed else None


def _least_for_target(parameters: Parameters, target_radius: float) -> int:
    """The fewest votes that could prove the target. Beyond 9 sigma: 10**18 or so, as good as never."""
    miss = 0.5 * math.erfc(target_radius / parameters.sigma / math.sqrt(2))  # 1 - Phi, to full precision
    log_p = math.log1p(-max(miss, 1e-18))
    alone = math.floor(math.log(parameters.alpha) / log_p) + 1
    if has_one_look(parameters.procedure, alone, parameters.alpha):
        return alone
    last = parameters.alpha * final_share(parameters) * (1 - RUNNER_UP_SHARE)
    return math.floor(math.log(last) / log_p) + 1
