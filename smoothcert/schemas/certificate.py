"""The Certificate document: the answer with all its evidence, enough to recompute it from the counts.

Also its signature, and the public keys that check one.
"""

import json
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothcert.errors import BadKeyFile, InvalidRequest, NotACertificate
from smoothcert.files import write_whole
from smoothcert.notebook import Sight, certificate_html
from smoothcert.schemas.json_text import MAX_BYTES as MAX_DOCUMENT
from smoothcert.schemas.json_text import Document, is_timestamp, parse_document
from smoothcert.schemas.parameters import ProcedureName

MAX_BYTES = 1_000_000  # of a key set

Issued = TypeVar("Issued", bound=BaseModel)  # a document with `issued_at`: a certificate or a statement


class Signature(BaseModel):
    """A signature over the certificate without this field, as canonical JSON (RFC 8785). value: base64url."""

    model_config = ConfigDict(frozen=True)

    key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    algorithm: Literal["Ed25519"] = "Ed25519"
    value: Annotated[str, Field(max_length=200)]


class PublicKey(BaseModel):
    """A JSON web key (RFC 8037). kid: its thumbprint (RFC 7638). x: 32 bytes, base64url."""

    model_config = ConfigDict(frozen=True)

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    kid: str
    x: str


class PublicKeys(BaseModel):
    """A JSON web key set (RFC 7517), newest first. Old keys stay, to check older certificates."""

    model_config = ConfigDict(frozen=True)

    keys: tuple[PublicKey, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "PublicKeys":
        """Raises BadKeyFile."""
        try:
            with path.open("rb") as file:
                return cls.model_validate_json(file.read(MAX_BYTES))
        except (OSError, ValidationError) as error:
            raise BadKeyFile(f"{path} is no file of public keys: {type(error).__name__}.") from error


Bound = Literal["one_sided", "runner_up"]
Shape = tuple[int, int, int]  # C,H,W of an image


class Look(BaseModel):
    """A look: the counts are evaluated after `n` votes, at failure probability `alpha`."""

    model_config = ConfigDict(frozen=True)

    n: int
    alpha: float
    alpha_runner_up: float = Field(
        default=0.0, description="the part of alpha that p_upper's bound has; p_lower's has the rest"
    )


class ModelDigest(BaseModel):
    """The network. sha256: of model.safetensors. classifier_sha256: of everything that decides its answers:
    weights, architecture, shapes, normalisation, and the rounding in int8.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    classifier_sha256: str | None = None
    opaque: str | None = Field(
        default=None,
        description="why only the owner can redraw the votes: the digests don't cover the classifier's code",
    )


class InputDigest(BaseModel):
    """The certified pixels. shape: C,H,W. sha256: of the uint8 pixels in that order."""

    model_config = ConfigDict(frozen=True)

    shape: Shape
    sha256: str
    preprocessing: list[str] = Field(description="what was done to the file to get these pixels, in order")


class EngineDescription(BaseModel):
    """The engine that drew every vote: another device, precision or batch size is another base classifier."""

    model_config = ConfigDict(frozen=True)

    device: str = Field(description="for example cpu, or the name of the GPU")
    backend: str = Field(description="for example eager, compile, openvino, cuda-graph")
    precision: str = Field(description="float32, bfloat16, ...")
    batch: int = Field(description="votes in one forward pass; the last one is padded")
    versions: dict[str, str] = Field(default_factory=dict)


class Implied(BaseModel):
    """What the l2 radius implies, rounded down; all 0 if there is none. From `radius` and `input.shape`.

    A change stays within the radius if its l1 norm is below `l1`, if every value changes by less than `linf`
    (pixels in [0,1]), if every value changes by at most `linf_levels` of 255, or if at most `pixels` pixels
    (all their channels) change, however much.
    """

    model_config = ConfigDict(frozen=True)

    l1: float = Field(ge=0, description="every change with a smaller l1 norm is covered")
    linf: float = Field(ge=0, description="every change of each value by less than this is covered")
    linf_levels: int = Field(ge=0, le=255, description="every value may change by so many of 255 levels")
    pixels: int = Field(ge=0, description="any so many pixels may change freely, in all channels")


class MadeBy(BaseModel):
    """The software that made a document."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str


class Certificate(BaseModel):
    """A proved radius, or an abstention, with its evidence (docs/api.md).

    With probability at least 1-alpha over the sampling, no change of the input with l2 norm below `radius`
    (pixels in [0,1]) changes `predicted_class` of the smoothed classifier.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    outcome: Literal["certified", "abstained"]
    procedure: ProcedureName
    predicted_class: int | None
    label: str | None
    radius: float = Field(ge=0, description="l2, pixels in [0,1], rounded down; 0 when abstained")
    norm: Literal["l2"] = "l2"
    implied: Implied | None = Field(default=None, description="the radius in other units")
    sigma: float
    alpha: float
    n0: int
    n: int = Field(description="estimation samples the counts hold: those at the look that proved the radius")
    drawn: int | None = Field(
        default=None,
        description="all estimation samples drawn; may exceed n: later samples did not improve the radius",
    )
    selection_counts: list[int]
    counts: list[int]
    bound: Bound
    p_lower: float = Field(description="lower confidence bound of the top class's probability, rounded down")
    p_upper: float = Field(description="upper confidence bound of the runner-up's probability, rounded up")
    schedule: list[Look] = Field(description="how the looks spend alpha")
    slack: float = Field(
        default=0.0, description="total variation between drawn and Gaussian noise: off p_lower, onto p_upper"
    )
    target_radius: float | None
    tolerance: float | None = None
    target_met: bool | None
    deadline: float | None = Field(default=None, description="seconds that were allowed for the work")
    ended_by: Literal["deadline"] | None = Field(
        default=None,
        description="`deadline` if more votes would have been drawn; what is proved holds anyway",
    )
    model: ModelDigest
    input: InputDigest
    seed: str = Field(description="128 random bits, hexadecimal; every vote can be redrawn from it")
    engine: EngineDescription
    asked_before: int | None = Field(
        default=None,
        ge=0,
        description="how often the service was asked before for the same pixels, model and sigma; "
        "null if no service issued it",
    )
    made_by: MadeBy | None = Field(default=None, description="the software; absent from older certificates")
    issued_at: datetime
    signature: Signature | None = Field(
        default=None, description="over all of the above; the service's keys are at /keys/signing"
    )

    @property
    def abstained(self) -> bool:
        """Whether no class is certified; then the radius is 0 and predicted_class is None."""
        return self.outcome == "abstained"

    def save(self, path: str | Path) -> None:
        """Write the certificate as JSON, atomically. Raises InvalidRequest if the file can't be written."""
        try:
            write_whole(Path(path), self.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise InvalidRequest(f"{path} can't be written: {error.strerror}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A certificate that `save`, `smoothcert certify --out` or a service wrote. It is not verified.

        Raises InvalidRequest: the file can't be read; NotACertificate, naming the field.
        """
        try:
            with Path(path).open("rb") as file:
                return validated(parse_document(file.read(MAX_DOCUMENT + 1)), cls)
        except OSError as error:
            raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error

    @cached_property
    def sight(self) -> Sight:
        """The image and the radius as it grew, where this process has certified it; not in the document."""
        return Sight()

    def _repr_html_(self) -> str:
        """For notebooks: image, class, radius, votes, and the radius as it grew."""
        return certificate_html(self, self.sight)


def validated(document: Document, model: type[Issued]) -> Issued:
    """A parsed document as a certificate or a statement. Values of the wrong type are not converted.

    Unknown fields are allowed, as later versions may add some. Raises NotACertificate, naming the field.
    """
    try:
        checked = model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise NotACertificate(".".join(map(str, first["loc"])), first["msg"]) from error
    if not is_timestamp(document["issued_at"]):
        raise NotACertificate("issued_at", "must be a date, a time and its offset, as RFC 3339 writes them")
    return checked
