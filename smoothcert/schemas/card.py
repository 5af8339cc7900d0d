"""card.json, which describes a checkpoint without its weights, and int8.json, its quantization."""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smoothcert.schemas.limits import CHANNELS, MAX_LABELS, MAX_SIDE, NAME
from smoothcert.schemas.parameters import Sigma
from smoothcert.schemas.statement import Beta, Share, Statement

INT8 = "int8"  # the precision, as engine configs and certificates name it
INT8_ACR_MARGIN = 0.005

# Cards are untrusted input, so every number has a bound and every text a maximum length.
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Channels = Annotated[int, Field(ge=1, le=3)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Words = Annotated[str, Field(max_length=1000)]


LEVELS = 255  # the largest of the unsigned eight-bit integers


class Rounding(BaseModel):
    """Affine quantization of one tensor: x becomes round(x/scale) + zero_point, clamped to 0..255."""

    model_config = ConfigDict(frozen=True)

    scale: Annotated[float, Field(gt=1e-30, lt=1e30, allow_inf_nan=False)]
    zero_point: Annotated[int, Field(ge=0, le=LEVELS)]


class Calibration(BaseModel):
    """The noisy training images on which the scales were chosen."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    images: int
    sigma: float
    seed: int


class Quantization(BaseModel):
    """int8.json. The scales of the weights follow from the weights.

    places: by the name of the node whose output is rounded, in the graph of the folded network.
    weights_sha256: of the model.safetensors that it was calibrated for.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    calibration: Calibration
    places: dict[str, Rounding] = Field(min_length=1)


class Preprocessing(BaseModel):
    """How an image file becomes the uint8 pixels that are certified.

    mode: `L` or `RGB`, as in Pillow. resize: length of the short side before the central crop (ImageNet:
    256); without it an image of another size is resized to the input shape, and the certificate notes that.
    mean, std: of the network's first layer, one per channel, pixels in [0,1]; noise is added before it.
    """

    model_config = ConfigDict(frozen=True)

    mode: Literal["L", "RGB"]
    resize: Side | None = None
    mean: Annotated[tuple[Finite, ...], Field(max_length=3)]
    std: Annotated[tuple[Positive, ...], Field(max_length=3)]


class Protocol(BaseModel):
    """How an evaluation was made."""

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
    """Figures measured on the test split.

    Shares in [0,1]; keys of certified_accuracy: l2 radii, two digits. abstention_rate: None if it was not
    measured.
    """

    model_config = ConfigDict(frozen=True)

    images: int
    acr: Finite
    certified_accuracy: dict[str, Finite]
    abstention_rate: Finite | None
    protocol: Protocol


class Int8(BaseModel):
    """The int8 version of the network: another base classifier, with its own evaluation.

    sha256: of int8.json. evaluation: None until votes of this version were measured.
    """

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    evaluation: Evaluation | None = None


class CardStatement(BaseModel):
    """What statement.json proves of the distribution of the test images, as far as the card shows it.

    sha256: of statement.json, beside the card. beta: failure probability of each radius.
    """

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    images: int
    beta: Beta
    radii: list[Share]

    @classmethod
    def of(cls, statement: Statement, content: bytes) -> Self:
        """content: of statement.json."""
        return cls(
            sha256=sha256(content).hexdigest(),
            images=statement.images,
            beta=statement.beta,
            radii=statement.radii,
        )


class ModelCard(BaseModel):
    """One checkpoint's card."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    architecture: Words
    dataset: Words
    input_shape: tuple[Channels, Side, Side]
    labels: Annotated[list[Words], Field(min_length=1, max_length=MAX_LABELS)]
    preprocessing: Preprocessing
    sigma: Sigma
    method: Words
    method_options: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(
        default_factory=dict, description="epochs, steps, seed, device, seconds, ..."
    )
    evaluation: Evaluation | None = None
    int8: Int8 | None = None
    statement: CardStatement | None = None
    no_statement: Words | None = Field(default=None, description="why there is no statement")
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    data_license: Words

    @model_validator(mode="after")
    def _one_picture(self) -> Self:
        if self.input_shape[0] != CHANNELS[self.preprocessing.mode]:
            raise ValueError(f"{self.input_shape[0]} channels are not those of {self.preprocessing.mode}")
        return self

    def classifier_sha256_in(self, precision: str) -> str:
        """SHA-256 of everything that decides the network's answers at this precision.

        The weights are not enough: mean and std are only in the card, and the int8 rounding only in
        int8.json.
        """
        first_layer = self.preprocessing.mean, self.preprocessing.std
        decisive: list[Any] = [self.weights_sha256, self.architecture, len(self.labels), self.input_shape]
        decisive.append(first_layer)
        if precision == INT8:
            decisive.append(self.int8.sha256 if self.int8 else None)
        return sha256(json.dumps(decisive).encode()).hexdigest()

    @property
    def int8_is_as_good(self) -> bool:
        """Whether int8 may be chosen by default: both ACRs, measured alike, differ by INT8_ACR_MARGIN at
        most.
        """
        full, rounded = self.evaluation, self.int8.evaluation if self.int8 else None
        if full is None or rounded is None or _protocol(full) != _protocol(rounded):
            return False
        return abs(full.acr - rounded.acr) <= INT8_ACR_MARGIN


def _protocol(evaluation: Evaluation) -> tuple[int, Protocol]:
    """Number of images and protocol, without the engine."""
    return evaluation.images, evaluation.protocol.model_copy(update={"engine": ""})
