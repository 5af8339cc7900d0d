"""int8.json: how the numbers between a network's layers are rounded to eight bits. Calibrated once."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LEVELS = 255  # the largest of the unsigned eight-bit integers


class Rounding(BaseModel):
    """One layer's numbers: x becomes the integer round(x/scale) + zero_point, kept within 0..255."""

    model_config = ConfigDict(frozen=True)

    scale: Annotated[float, Field(gt=1e-30, lt=1e30, allow_inf_nan=False)]
    zero_point: Annotated[int, Field(ge=0, le=LEVELS)]


class Calibration(BaseModel):
    """On what the scales were chosen: noisy images of the training split."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    images: int
    sigma: float
    seed: int


class Quantization(BaseModel):
    """All that int8 adds to a checkpoint; the weights' own scales follow from the weights.

    places: by the name of what computes the numbers, as the folded network's graph calls it.
    weights_sha256: of the model.safetensors it was calibrated for, and is good for.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    calibration: Calibration
    places: dict[str, Rounding] = Field(min_length=1)
