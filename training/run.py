"""A training run on disk: its resumable state, its metrics, and the checkpoint it exports."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from smoothcert.errors import BadCheckpoint, InvalidRequest
from smoothcert.files import try_writing, write_whole
from smoothcert.models.checkpoint import save_checkpoint
from smoothcert.models.registry import CARD_FILE
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.limits import NAME
from training.distributed import is_main_process
from training.methods import hyperparameters
from training.trainer import EpochRecord, Position, Trainer

STATE_FILE = "training.state"  # safetensors; removed by the export
METRICS_FILE = "metrics.tsv"
METRICS = ("epoch", "loss", "lr", "seconds", "peak_memory_mib")
SAVE_EVERY = 60.0  # seconds between two saved states within an epoch: the most that a kill costs
RETIRED_FIELDS = frozenset({"quick", "narrow_kernels"})  # of recipes in older states; the run resumes without
MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


class TrainingRun:
    """A run in one folder: `train()`, then `export()`. After a kill, `resume` continues it."""

    def __init__(self, trainer: Trainer, folder: Path, *, resume: bool) -> None:
        """Raises InvalidRequest: the folder cannot name a model, or holds a run that cannot be continued."""
        self.trainer = trainer
        self.folder = folder
        self._state = folder / STATE_FILE
        self._lock: FolderLock | None = None
        prepare_run_folder(folder, resume=resume)
        if is_main_process():
            FolderLock(folder).close()
        trainer.images.digest  # noqa: B018  (computed now, from the files as they are)
        if self._state.exists():
            self._restore()

    def train(self) -> Iterator[Position]:
        """Train to the end, yielding after every step. The folder stays locked until `export`.

        Raises InvalidRequest: another run has the folder, or the training has diverged.
        """
        self._lock = FolderLock(self.folder) if is_main_process() else None
        try:
            yield from self._train()
        except BaseException:
            self._unlock()
            raise

    def _train(self) -> Iterator[Position]:
        _require_unfinished(self.folder)
        saved, epoch = time.monotonic(), self.trainer.position.epoch
        for position in self.trainer.steps():
            if self.trainer.position.epoch != epoch or time.monotonic() - saved > SAVE_EVERY:
                self.save()
                saved, epoch = time.monotonic(), self.trainer.position.epoch
            yield position
        self.save()

    def save(self) -> None:
        """Write state and metrics, in the main process; only between two steps."""
        if not is_main_process():
            return
        # Metrics first: a kill between the two leaves one line too many, which `_restore` drops.
        write_whole(self.folder / METRICS_FILE, format_metrics(self.trainer.records).encode())
        save_state(self.trainer, self._state)

    def export(self) -> ModelCard:
        """Write the checkpoint and remove the state, in the main process. Every process gets the card."""
        if not is_main_process():
            return model_card(self.trainer, self.folder.name)
        card = export_checkpoint(self.trainer, self.folder)
        self._state.unlink(missing_ok=True)
        self._unlock()
        return card

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _restore(self) -> None:
        restore_state(self.trainer, self._state)
        metrics = self.folder / METRICS_FILE
        written = parse_metrics(metrics.read_text()) if metrics.exists() else []
        self.trainer.records = [record for record in written if record.epoch < self.trainer.position.epoch]


def save_state(trainer: Trainer, path: Path) -> None:
    """Write what a killed run needs to resume: its tensors, position, recipe and the images' digest."""
    metadata = {
        "position": json.dumps(asdict(trainer.position)),
        "recipe": json.dumps(trainer.recipe.record(), sort_keys=True),
        "data": trainer.images.digest,
    }
    write_whole(path, save(trainer.state(), metadata))


def restore_state(trainer: Trainer, path: Path) -> None:
    """Continue from a saved state. Raises InvalidRequest (other recipe or images), BadCheckpoint."""
    metadata, recipe = _read_metadata(path), trainer.recipe.record()
    differing = _differences(json.loads(metadata["recipe"]), json.loads(json.dumps(recipe)))
    if differing:
        raise InvalidRequest(
            f"{path} belongs to another recipe ({differing} differ); give the same options, or another --out."
        )
    digest = trainer.images.digest
    if metadata.get("data", digest) != digest:  # absent from states of version 0.1
        raise InvalidRequest(
            f"{path} belongs to other images: classes, labels or files of {recipe['dataset']} have changed "
            "since; put them back, or start anew with another --out."
        )
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    trainer.restore(tensors, Position(**json.loads(metadata["position"])))


def saved_recipe(path: Path) -> dict[str, Any]:
    """The recipe's record in a saved state. Raises BadCheckpoint."""
    recipe: dict[str, Any] = json.loads(_read_metadata(path)["recipe"])
    return recipe


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata()
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read as a training state: {error}") from error
    return metadata


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = (old.keys() | new.keys()) - RETIRED_FIELDS
    return ", ".join(sorted(k for k in names if old.get(k) != new.get(k)))


def format_metrics(records: Sequence[EpochRecord]) -> str:
    """One line per epoch. Losses have full precision, so that a resumed run reports the same ones."""
    lines = [f"{r.epoch}\t{r.loss!r}\t{r.lr:.6g}\t{r.seconds:.1f}\t{r.peak_memory_mib}" for r in records]
    return "\n".join(["\t".join(METRICS), *lines]) + "\n"


def parse_metrics(text: str) -> list[EpochRecord]:
    """Inverse of `format_metrics`."""
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return [
        EpochRecord(int(epoch), float(loss), float(lr), float(seconds), int(memory))
        for epoch, loss, lr, seconds, memory in rows
    ]


def export_checkpoint(trainer: Trainer, folder: Path) -> ModelCard:
    """Write model.safetensors and card.json of a run in its current state."""
    return save_checkpoint(folder, trainer.network, model_card(trainer, folder.name))


def model_card(trainer: Trainer, name: str) -> ModelCard:
    """The card of a run, without measured accuracy."""
    recipe, images, classifier = trainer.recipe, trainer.images, trainer.recipe.classifier
    channels, height, width = images.input_shape
    options: dict[str, Any] = recipe.record()["method"]
    options.pop("sigma", None)
    return ModelCard(
        name=name,
        architecture=recipe.architecture,
        dataset=recipe.dataset.split(":")[0],
        input_shape=(channels, height, width),
        labels=list(classifier.labels if classifier else images.class_names),
        preprocessing=Preprocessing(
            mode=MODES[channels],
            resize=classifier.resize if classifier else images.resize,
            mean=recipe.mean,
            std=recipe.std,
        ),
        sigma=recipe.method.sigma,
        method=recipe.method_name,
        method_options=options,
        training=_training_record(trainer),
        weights_sha256="0" * 64,  # save_checkpoint fills it in
        data_license=images.licence,
    )


def _training_record(trainer: Trainer) -> dict[str, Any]:
    recipe, device = trainer.recipe, trainer.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    schedule: dict[str, Any] = recipe.record()["schedule"]
    return schedule | {
        "seed": recipe.seed,
        "initial": recipe.initial,
        **({"vote_shares": recipe.vote_shares} if recipe.vote_shares else {}),
        **({"classifier": recipe.classifier.record()} if recipe.classifier else {}),
        "micro_batch": recipe.micro_batch,
        "precision": recipe.precision,
        "channels_last": recipe.channels_last,
        "compile": recipe.compile,
        "threads": torch.get_num_threads(),
        "epochs_done": trainer.position.epoch,
        "seconds": round(trainer.position.seconds, 1),
        "device": name,
        "torch": torch.__version__,
        "hyperparameters": hyperparameters(recipe.method),
        "peak_memory_mib": trainer.peak_memory_mib,
        "final_loss": trainer.records[-1].loss if trainer.records else None,
    }


class FolderLock:
    """An exclusive lock on a run's folder itself, so that no lock file is left behind."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidRequest if another run has it."""
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InvalidRequest(
                f"{folder} is being written by another training; let it end or choose another --out."
            ) from None
        except OSError:
            return  # some network drives do not lock folders

    def close(self) -> None:
        """Release the lock; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close


def prepare_run_folder(folder: Path, *, resume: bool) -> None:
    """Create a run's folder.

    Raises InvalidRequest: its name cannot be a model's, it cannot be written, it holds a checkpoint, or an
    unfinished run without `resume`.
    """
    if not NAME.fullmatch(folder.name):
        raise InvalidRequest(
            f"--out {folder}: the last part becomes the model's name: small letters, digits, dots, _ and -."
        )
    try:
        try_writing(folder, folder=True)
    except OSError as error:
        raise InvalidRequest(f"--out {folder} can't be written: {error.strerror}.") from error
    _require_unfinished(folder)
    if (folder / STATE_FILE).exists() and not resume:
        raise InvalidRequest(f"{folder} holds an unfinished run; --resume continues it.")


def _require_unfinished(folder: Path) -> None:
    if (folder / CARD_FILE).exists():
        raise InvalidRequest(f"{folder} holds a finished checkpoint; choose another --out.")
