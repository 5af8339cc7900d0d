"""What a caller asks of a certification."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from smoothcert.errors import InvalidRequest

ProcedureName = Literal["anytime", "certify", "predict"]

DEFAULT_N0 = 100
DEFAULT_N = 100_000
DEFAULT_ALPHA = 0.001
MIN_ALPHA = 1e-12  # far below it the bounds' arithmetic fails; nobody needs it
MAX_N = 10_000_000  # votes; keeps one job within hours on the slowest model
LEAST_SIGMA = 1e-4  # from 2e-4 down the noise never reaches another pixel value: 63 bits can't tell
LARGEST_SIGMA = 12.0  # beyond it a pixel with its noise would not fit 16 bits

Sigma = Annotated[
    float,
    Field(
        ge=LEAST_SIGMA,
        le=LARGEST_SIGMA,
        allow_inf_nan=False,
        description="noise level, pixels in [0,1]; set by the model",
    ),
]


def check_sigma(sigma: float) -> None:
    """Raises InvalidRequest where no noise of this level is drawn."""
    if not LEAST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise InvalidRequest(
            f"sigma must be from {LEAST_SIGMA:g} to {LARGEST_SIGMA:g}, for pixels from 0 to 1; got {sigma}."
        )


class Question(BaseModel):
    """What a caller may ask: which procedure, how many votes, which failure probability.

    Radii are l2, in pixels scaled to [0,1].
    """

    model_config = ConfigDict(frozen=True)

    procedure: Annotated[
        ProcedureName,
        Field(
            description="anytime (default), certify (Cohen et al. 2019) or predict (class only, no radius)"
        ),
    ] = "anytime"
    n0: Annotated[int, Field(ge=1, le=1_000_000, description="selection samples")] = DEFAULT_N0
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


class Parameters(Question):
    """The question put to the sampler.

    `sigma` belongs to the model (its training noise, in units of pixels in [0,1]) and is repeated here
    because the answer is about it.
    """

    sigma: Sigma
