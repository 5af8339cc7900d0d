"""card.json: what is known of a checkpoint without loading its weights."""

import json
import re
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smoothcert.schemas.parameters import Sigma

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
INT8 = "int8"  # the precision, as set-ups and certificates name it
INT8_ACR_MARGIN = 0.005
MOST_SIDE = 4096  # pixels: a card can't ask the service for a picture larger than an upload may be
MOST_LABELS = 100_000
CHANNELS = {"L": 1, "RGB": 3}

# A card is written by whoever made the checkpoint: each figure has its bound, each text its length.
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
Channels = Annotated[int, Field(ge=1, le=3)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Words = Annotated[str, Field(max_length=1000)]


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


class Preprocessing(BaseModel):
    """How an image file becomes the uint8 pixels that are certified.

    mode: `L` or `RGB`, as Pillow names them. `resize` is the short side before `crop` (ImageNet: 256, 224);
    without it an image of another size is resized to the input shape, and the certificate says so.
    mean, std: the network's first layer, one value a channel, in [0,1] pixels; noise is added before it.
    """

    model_config = ConfigDict(frozen=True)

    mode: Literal["L", "RGB"]
    resize: Side | None = None
    mean: Annotated[tuple[Finite, ...], Field(max_length=3)]
    std: Annotated[tuple[Positive, ...], Field(max_length=3)]


class Protocol(BaseModel):
    """How a measured figure was made."""

    model_config = ConfigDict(frozen=True)

    split: str = "test"
    every: int = Field(1, description="every k-th image of the split")
    n0: int
    n: int
    alpha: float
    procedure: str
    bound: str
    engine: str = Field("", description="device, backend, precision, batch")


class Evaluation(BaseModel):
    """Measured on the data set's test split. Shares in [0,1]; keys are l2 radii with two digits."""

    model_config = ConfigDict(frozen=True)

    images: int
    acr: Finite
    certified_accuracy: dict[str, Finite]
    abstention_rate: Finite
    protocol: Protocol


class Int8(BaseModel):
    """The same network in eight-bit integers: another base classifier, with its own measured figures.

    sha256: of int8.json. evaluation: void, so None, until votes of these very integers were measured.
    """

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    evaluation: Evaluation | None = None


class ModelCard(BaseModel):
    """One checkpoint's card."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    architecture: Words
    dataset: Words
    input_shape: tuple[Channels, Side, Side]
    labels: Annotated[list[Words], Field(min_length=1, max_length=MOST_LABELS)]
    preprocessing: Preprocessing
    sigma: Sigma
    method: Words
    method_options: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(
        default_factory=dict, description="epochs, steps, seed, device, seconds, ..."
    )
    evaluation: Evaluation | None = None
    int8: Int8 | None = None
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data_license: Words

    @model_validator(mode="after")
    def _one_picture(self) -> Self:
        if self.input_shape[0] != CHANNELS[self.preprocessing.mode]:
            raise ValueError(f"{self.input_shape[0]} channels are not those of {self.preprocessing.mode}")
        return self

    def classifier_sha256_in(self, precision: str) -> str:
        """A digest of all here that decides what the network answers. The weights alone do not: the first
        layer's mean and std stand in the card only, and in `int8` the rounding comes from int8.json."""
        first_layer = self.preprocessing.mean, self.preprocessing.std
        said: list[Any] = [self.weights_sha256, self.architecture, len(self.labels), self.input_shape]
        said.append(first_layer)
        if precision == INT8:
            said.append(self.int8.sha256 if self.int8 else None)
        return sha256(json.dumps(said).encode()).hexdigest()

    @property
    def int8_is_as_good(self) -> bool:
        """Whether int8 may be chosen unasked: its ACR and the card's, measured alike, hardly differ."""
        full, rounded = self.evaluation, self.int8.evaluation if self.int8 else None
        if full is None or rounded is None or _protocol(full) != _protocol(rounded):
            return False
        return abs(full.acr - rounded.acr) <= INT8_ACR_MARGIN


def _protocol(evaluation: Evaluation) -> tuple[int, Protocol]:
    """How many images, and how; the engine apart, which is what differs."""
    return evaluation.images, evaluation.protocol.model_copy(update={"engine": ""})
