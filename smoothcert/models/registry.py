"""The registry of models: every folder below one root with a card.json and a model.safetensors. No torch."""

from dataclasses import dataclass
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
MAX_CARD = 10_000_000  # bytes
INT8_FILE = "int8.json"  # optional


def read_card(folder: Path) -> ModelCard:
    """The card of a checkpoint folder. Raises BadCheckpoint: missing or invalid."""
    path = folder / CARD_FILE
    text = read_bounded(path, MAX_CARD, f"is not a model card: it is larger than {MAX_CARD} bytes.")
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadCheckpoint(f"{path} is not a model card: {where}: {first['msg']}.") from error


@dataclass(frozen=True)
class ModelRegistry:
    """The checkpoints below `root`. Read at every call, so that new folders are served at once."""

    root: Path = BUNDLED

    def names(self) -> list[str]:
        """Names of the folders with a complete checkpoint, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if NAME.fullmatch(p.name) and self._is_whole(p))

    def cards(self) -> list[ModelCard]:
        """The valid cards, sorted by name. Invalid ones are skipped; `left_out` has the reasons."""
        cards = []
        for name in self.names():
            try:
                cards.append(self.card(name))
            except BadCheckpoint:
                continue
        return cards

    def left_out(self) -> dict[str, str]:
        """Folders below `root` that are not models, with the reason."""
        if not self.root.is_dir():
            return {}
        folders = (path for path in sorted(self.root.iterdir()) if path.is_dir())
        reasons = {path.name: self._problem(path) for path in folders if not path.name.startswith(".")}
        return {name: reason for name, reason in reasons.items() if reason}

    def _problem(self, folder: Path) -> str:
        missing = [name for name in (CARD_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
        if missing:
            return f"it has no {' and no '.join(missing)}"
        if not NAME.fullmatch(folder.name):
            return "a model's name has small letters, digits, dots, _ and - only"
        try:
            read_card(folder)
        except BadCheckpoint as error:
            return str(error)
        return ""

    def card(self, name: str) -> ModelCard:
        """The card of one model. Raises UnknownModel, BadCheckpoint.

        The model's name is that of its folder, whatever the card says, so no checkpoint can pose as another.
        """
        return read_card(self.folder(name)).model_copy(update={"name": name})

    def folder(self, name: str) -> Path:
        """The checkpoint folder of one model. Raises UnknownModel."""
        if not NAME.fullmatch(name) or not self._is_whole(self.root / name):
            known = ", ".join(self.names()) or "none"
            raise UnknownModel(f"There is no model {name!r}; there are: {known}.")
        return self.root / name

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        return (folder / CARD_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()
