"""The parameters of a certification, and whether they can succeed at all."""

import math
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from smoothcert.errors import ImpossibleRequest, InvalidRequest
from smoothcert.schemas.limits import LARGEST_SIGMA, LEAST_SIGMA, MAX_DEADLINE, MAX_N, MAX_N0, MIN_ALPHA

ProcedureName = Literal["anytime", "certify", "predict"]

DEFAULT_N0 = 100
DEFAULT_N = 100_000
DEFAULT_ALPHA = 0.001

# How the anytime procedure divides alpha; `smoothcert.stats.schedule` lays out the looks with these.
FINAL_SHARE = 0.9  # of alpha, kept for the last look
FINAL_SHARE_WHEN_STOPPING = 0.5  # with a target or a tolerance, which make an earlier stop likely
RUNNER_UP_SHARE = 0.1  # of a look's alpha, for the upper bound of the runner-up

Sigma = Annotated[
    float,
    Field(
        ge=LEAST_SIGMA,
        le=LARGEST_SIGMA,
        allow_inf_nan=False,
        description="noise level, pixels in [0,1]; set by the model",
    ),
]


class Question(BaseModel):
    """What a caller chooses: procedure, number of votes, failure probability. Radii: l2, pixels in [0,1]."""

    model_config = ConfigDict(frozen=True)

    procedure: Annotated[
        ProcedureName,
        Field(
            description="anytime (default), certify (Cohen et al. 2019) or predict (class only, no radius)"
        ),
    ] = "anytime"
    n0: Annotated[int, Field(ge=1, le=MAX_N0, description="selection samples")] = DEFAULT_N0
    n: Annotated[int, Field(ge=1, le=MAX_N, description="estimation samples")] = DEFAULT_N
    alpha: Annotated[float, Field(ge=MIN_ALPHA, lt=1, description="failure probability")] = DEFAULT_ALPHA
    target_radius: Annotated[
        float | None,
        Field(
            gt=0, allow_inf_nan=False, description="stop as soon as this l2 radius is proved, or is hopeless"
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        Field(gt=0, lt=1, description="stop once at most this share of the radius still provable is missing"),
    ] = None
    deadline: Annotated[
        float | None,
        Field(
            gt=0,
            le=MAX_DEADLINE,
            allow_inf_nan=False,
            description="seconds from the start of the work; then the best certificate so far is taken",
        ),
    ] = None

    @field_validator("deadline")
    @classmethod
    def _goes_with_looks(cls, deadline: float | None, info: ValidationInfo) -> float | None:
        procedure = info.data.get("procedure", "anytime")
        if deadline is not None and procedure != "anytime":
            raise ValueError(f"{procedure} proves nothing before its last vote: leave it out, or use anytime")
        return deadline


def reason(message: str) -> str:
    """pydantic's message, without its words for an error of a validator of ours."""
    return message.removeprefix("Value error, ")


class Parameters(Question):
    """All parameters. `sigma` is the model's noise level, pixels in [0,1]."""

    sigma: Sigma


def checked_parameters(sigma: float, **options: Any) -> Parameters:
    """Raises InvalidRequest naming the parameter."""
    try:
        return Parameters.model_validate({**options, "sigma": sigma})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(f"{first['loc'][0]}={first['input']!r}: {reason(first['msg'])}.") from error


def first_look(alpha: float) -> int:
    """Votes at the first of several looks: ten times the least n that could certify, at least 32."""
    return max(32, math.ceil(-10 * math.log2(alpha)))


def has_one_look(procedure: ProcedureName, n: int, alpha: float) -> bool:
    """Whether there is one look, at n, with all of alpha: fixed-n procedures, or n too small for several."""
    return procedure != "anytime" or n < 2 * first_look(alpha)


def final_share(parameters: Parameters) -> float:
    """The share of alpha of the last of several looks."""
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
    """Raise ImpossibleRequest if no outcome of the votes could certify, or reach the target radius.

    The error names the least n that could, or, if not even MAX_N could, the largest possible radius.
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
    """The radius that n votes for one class prove at the last look; 0 if none."""
    alpha = parameters.alpha
    if not has_one_look(parameters.procedure, parameters.n, alpha):
        alpha *= final_share(parameters) * (1 - RUNNER_UP_SHARE)
    return unanimous_radius(parameters.sigma, parameters.n, alpha)


def unanimous_radius(sigma: float, n: int, alpha: float) -> float:
    """The radius that n votes for one class prove by a one-sided bound at level alpha. Pixels in [0,1]."""
    p_lower: float = alpha ** (1 / n)
    return sigma * NormalDist().inv_cdf(p_lower) if 0.5 < p_lower < 1 else 0.0


def shortage(parameters: Parameters) -> int | None:
    """The least n with which this request could succeed, or None if its own n is enough.

    That includes a target radius that n unanimous votes could not prove.
    """
    needed = least_n(parameters.alpha, parameters.procedure)
    if parameters.target_radius is not None and parameters.procedure != "predict":
        needed = max(needed, _least_for_target(parameters, parameters.target_radius))
    return needed if parameters.n < needed else None


def _least_for_target(parameters: Parameters, target_radius: float) -> int:
    """The least n that could prove the target; about 10**18 beyond 9 sigma."""
    miss = 0.5 * math.erfc(target_radius / parameters.sigma / math.sqrt(2))  # 1 - Phi, to full precision
    log_p = math.log1p(-max(miss, 1e-18))
    alone = math.floor(math.log(parameters.alpha) / log_p) + 1
    if has_one_look(parameters.procedure, alone, parameters.alpha):
        return alone
    last = parameters.alpha * final_share(parameters) * (1 - RUNNER_UP_SHARE)
    return math.floor(math.log(last) / log_p) + 1
