"""The Statement document: what an evaluation proves about the distribution of its images."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from smoothcert.schemas.certificate import ModelDigest, Signature
from smoothcert.schemas.json_text import Document
from smoothcert.schemas.parameters import ProcedureName

Beta = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


def is_statement(document: Document) -> bool:
    """Whether a document says that it is a statement."""
    return document.get("kind") == "statement"


class Share(BaseModel):
    """The images that are right and certified at one radius.

    With confidence 1-beta the smoothed classifier answers at least `at_least` of the distribution right at
    every point within `radius`.
    """

    model_config = ConfigDict(frozen=True)

    radius: float = Field(ge=0, description="l2, pixels in [0,1]")
    right: int = Field(ge=0, description="images that are right and certified there")
    of: int = Field(ge=0, description="of so many")
    at_least: float = Field(
        ge=0, le=1, description="Clopper-Pearson lower(right, of, beta) - alpha, rounded down, 0 or more"
    )


class ClassShares(BaseModel):
    """The shares of the images of one class. Those of all classes hold together, with beta/K each."""

    model_config = ConfigDict(frozen=True)

    label: str
    radii: list[Share]


class DataDigest(BaseModel):
    """The images: every `every`-th of a split. sha256: of the data, as the evaluation recorded it."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    split: str
    split_images: int
    every: int
    sha256: str | None = None


class Statement(BaseModel):
    """What an evaluation of N images proves about their distribution (docs/how-to-attest.md)."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    kind: Literal["statement"] = "statement"
    model: ModelDigest
    data: DataDigest
    procedure: ProcedureName
    sigma: float
    alpha: float
    n0: int
    n: int
    target_radius: float | None = None
    tolerance: float | None = None
    engine: str = Field(description="the engine config that drew every vote")
    slack: float = Field(ge=0, le=1, description="total variation between drawn and Gaussian noise")
    images: int
    beta: Beta
    radii: list[Share] = Field(description="each with confidence 1-beta")
    class_beta: Beta = Field(description="beta over the number of classes (Bonferroni)")
    classes: list[ClassShares] = Field(description="all together with confidence 1-beta, at each radius")
    mean_radius: float = Field(description="average certified radius: 0 where wrong or abstained")
    median_radius: float
    p_a: dict[str, float] = Field(
        description="quantiles over images of the share of noisy copies classified right"
    )
    log_sha256: str
    run_sha256: str = Field(description="of LOG.run.json")
    issued_at: datetime
    signature: Signature | None = Field(default=None, description="over all of the above")
