"""The registry of models: every folder below one root with a card.json and the weights it names. No torch."""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from smoothcert.errors import BadCheckpoint, UnknownModel
from smoothcert.files import read_bounded
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.limits import NAME

BUNDLED = Path(__file__).resolve().parents[2] / "models"
DEFAULT_MODEL = "mnist-lenet-consistency-0.50"  # for all settings
CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
ONNX = "onnx"  # the architecture of a model whose network is in its own file
ONNX_FILE = "model.onnx"
UNKNOWN_DATASET = "not stated"  # of a card that `smoothcert add` made
MAX_CARD = 10_000_000  # bytes
INT8_FILE = "int8.json"  # optional
STATEMENT_FILE = "statement.json"  # optional
MAX_STATEMENT = 10_000_000  # bytes

# Names only: the service reads cards and must not load torch. Tests compare them with the packages.
OWN = "lenet", "resnet20", "resnet110", "densenet40"
TIMM = "timm:"  # before the name of an architecture of that package
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]{1,100}")
_DENOISED = re.compile(r"dncnn-([1-9][0-9]?)-([1-9][0-9]{0,2}):(.+)")
MAX_DEPTH, MAX_CHANNELS = 32, 256  # of a denoiser: a card may ask for no more memory than this
TORCHVISION = frozenset(
    re.findall(
        r"\S+",
        """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
    efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
    regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf
    regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50
    resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b
    swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2""",
    )
)


@dataclass(frozen=True)
class DenoisedArchitecture:
    """A denoiser of `depth` convolutions and `channels` between them, before a classifier's architecture.

    Written as in `dncnn-17-64:resnet110`.
    """

    depth: int
    channels: int
    classifier: str

    @classmethod
    def parse(cls, name: str) -> "DenoisedArchitecture | None":
        """None if the name is not of this form, or the denoiser is too large."""
        found = _DENOISED.fullmatch(name)
        if found is None:
            return None
        depth, channels = int(found[1]), int(found[2])
        if not (2 <= depth <= MAX_DEPTH and channels <= MAX_CHANNELS):
            return None
        return cls(depth, channels, found[3])

    def __str__(self) -> str:
        return f"dncnn-{self.depth}-{self.channels}:{self.classifier}"


def weights_file(card: ModelCard) -> str:
    """The name of the file that holds this model's weights."""
    return ONNX_FILE if card.architecture == ONNX else WEIGHTS_FILE


def is_architecture(name: str) -> bool:
    """Whether networks of this name can be built here; of timm's, whether it has the form of one."""
    denoised = DenoisedArchitecture.parse(name)
    name = denoised.classifier if denoised else name
    return name in OWN or name in TORCHVISION or name == ONNX or _TIMM_NAME.fullmatch(name) is not None


def read_card(folder: Path) -> ModelCard:
    """The card of a checkpoint folder. Raises BadCheckpoint: missing, invalid, of an unknown architecture."""
    path = folder / CARD_FILE
    text = read_bounded(path, MAX_CARD, f"is not a model card: it is larger than {MAX_CARD} bytes.")
    try:
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadCheckpoint(f"{path} is not a model card: {where}: {first['msg']}.") from error
    if not is_architecture(card.architecture):
        raise BadCheckpoint(
            f"{path}: There is no architecture {card.architecture!r}; there are {', '.join(OWN)}, "
            f"the classifiers of torchvision (resnet50, ...), {TIMM}NAME and {ONNX}, "
            "and dncnn-DEPTH-CHANNELS: before any of them."
        )
    return card


@dataclass(frozen=True)
class ModelRegistry:
    """The checkpoints below `root`. Looked up at every call, so that new folders are served at once."""

    root: Path = BUNDLED

    def names(self) -> list[str]:
        """Names of the models, sorted: complete folders whose card is valid and whose network is known."""
        return sorted(path.name for path in self._folders() if not _problem(path))

    def cards(self) -> list[ModelCard]:
        """The cards of `names`, in that order. Other folders are skipped; `left_out` has the reasons."""
        cards = []
        for name in self.names():
            try:
                cards.append(self.card(name))
            except (BadCheckpoint, UnknownModel):  # it changed a moment ago
                continue
        return cards

    def left_out(self) -> dict[str, str]:
        """Folders below `root` that are not models, with the reason."""
        return {path.name: reason for path in self._folders() if (reason := _problem(path))}

    def broken(self) -> dict[str, str]:
        """Those of `left_out` that have a card and a valid name, so they were probably meant to be served."""
        found = {name: reason for name, reason in self.left_out().items() if NAME.fullmatch(name)}
        return {name: reason for name, reason in found.items() if (self.root / name / CARD_FILE).is_file()}

    def card(self, name: str) -> ModelCard:
        """The card of one model. Raises UnknownModel, BadCheckpoint.

        The model's name is that of its folder, whatever the card says, so no checkpoint can pose as another.
        """
        return read_card(self.folder(name)).model_copy(update={"name": name})

    def find(self, model: str | Path) -> tuple[Path, ModelCard]:
        """Folder and card of a checkpoint folder or a name. Raises UnknownModel, BadCheckpoint."""
        folder, name = Path(model), str(model)
        if (folder / CARD_FILE).is_file():
            return folder, read_card(folder)
        try:
            return self.folder(name), self.card(name)
        except UnknownModel:
            if not folder.is_dir():
                raise
            raise UnknownModel(
                f"{model} is no checkpoint folder: it has no {CARD_FILE}. `smoothcert add` makes one of a "
                f"{ONNX_FILE}, of weights or of a published checkpoint."
            ) from None

    def statement(self, name: str) -> bytes | None:
        """The statement that the card of a model names; None if there is none.

        Raises UnknownModel, BadCheckpoint: the file is missing or another one.
        """
        shown = self.card(name).statement
        if shown is None:
            return None
        path = self.folder(name) / STATEMENT_FILE
        if not path.is_file():
            raise BadCheckpoint(f"{path} is missing, although the card names it.")
        content = read_bounded(path, MAX_STATEMENT, f"is larger than {MAX_STATEMENT} bytes.")
        if sha256(content).hexdigest() != shown.sha256:
            raise BadCheckpoint(f"{path} is not the statement that its card names: the sha256 differs.")
        return content

    def folder(self, name: str) -> Path:
        """The checkpoint folder of one model. Raises UnknownModel."""
        if not NAME.fullmatch(name) or not _is_whole(self.root / name):
            known = ", ".join(self.names()) or "none"
            raise UnknownModel(f"There is no model {name!r}; there are: {known}.")
        return self.root / name

    def _folders(self) -> list[Path]:
        """Folders that may be models, sorted by name."""
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_whole(folder: Path) -> bool:
    return (folder / CARD_FILE).is_file() and bool(_weights(folder))


def _weights(folder: Path) -> frozenset[str]:
    return frozenset(name for name in (WEIGHTS_FILE, ONNX_FILE) if (folder / name).is_file())


def _problem(folder: Path) -> str:
    """Why the folder is no model; empty if it is one."""
    weights, has_card = _weights(folder), (folder / CARD_FILE).is_file()
    missing = [] if has_card else [CARD_FILE]
    missing += [] if weights else [WEIGHTS_FILE]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if not NAME.fullmatch(folder.name):
        return "a model's name has small letters, digits, dots, _ and - only"
    try:
        return _card_problem(folder, weights, _stamp((folder / CARD_FILE).stat()))
    except OSError as error:
        return f"its {CARD_FILE} can't be read: {error.strerror}"


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


@lru_cache(maxsize=1024)  # cards are checked at every request; _status changes when a card's file does
def _card_problem(folder: Path, weights: frozenset[str], _status: tuple[int, ...]) -> str:
    try:
        card = read_card(folder)
    except BadCheckpoint as error:
        return str(error)
    return "" if weights_file(card) in weights else f"it has no {weights_file(card)}"
