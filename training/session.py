"""A training run on disk: its state while it lasts, its metrics, and the checkpoint it ends in."""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from smoothcert.errors import InvalidRequest
from smoothcert.files import try_writing, write_whole
from smoothcert.models.registry import CARD_FILE
from smoothcert.schemas.card import NAME, ModelCard
from training.distributed import is_first
from training.export import export_checkpoint, model_card
from training.state import Position
from training.trainer import EpochRecord, Trainer

STATE_FILE = "training.state"
METRICS_FILE = "metrics.tsv"
METRICS = ("epoch", "loss", "lr", "seconds", "peak_memory_mib")
SAVE_EVERY = 60.0  # seconds between two saved states within an epoch: what a kill can cost


class Session:
    """One folder. `train()` trains, saves and in the end exports; killed, it goes on with `resume`."""

    def __init__(self, trainer: Trainer, folder: Path, *, resume: bool) -> None:
        """Raises InvalidRequest: a name no card can have, or a run that is there already or isn't this
        one.
        """
        self.trainer = trainer
        self.folder = folder
        self._state = folder / STATE_FILE
        self._lock: FolderLock | None = None
        check_out(folder, resume=resume)
        if is_first():
            FolderLock(folder).close()
        trainer.images.digest  # noqa: B018  (of the files as they are now)
        if self._state.exists():
            self._restore()

    def train(self) -> Iterator[Position]:
        """Train to the end, yielding after every step. The folder is this run's until `export`, which makes
        it a checkpoint. Raises InvalidRequest: another run has it."""
        self._lock = FolderLock(self.folder) if is_first() else None
        try:
            yield from self._train()
        except BaseException:
            self._unlock()
            raise

    def _train(self) -> Iterator[Position]:
        _check_unfinished(self.folder)
        saved, epoch = time.monotonic(), self.trainer.position.epoch
        for position in self.trainer.steps():
            if self.trainer.position.epoch != epoch or time.monotonic() - saved > SAVE_EVERY:
                self.save()
                saved, epoch = time.monotonic(), self.trainer.position.epoch
            yield position
        self.save()

    def save(self) -> None:
        """Keep where the run stands; between two steps only. Of several processes the first writes."""
        if not is_first():
            return
        # Metrics first: a kill between the two leaves a line too many, which is told by its epoch.
        write_whole(self.folder / METRICS_FILE, metrics_text(self.trainer.records).encode())
        self.trainer.save(self._state)

    def export(self) -> ModelCard:
        """Write the checkpoint, after which the state is of no more use. Other processes get its card."""
        if not is_first():
            return model_card(self.trainer, self.folder.name)
        card = export_checkpoint(self.trainer, self.folder)
        self._state.unlink(missing_ok=True)
        self._unlock()
        return card

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _restore(self) -> None:
        self.trainer.restore(self._state)
        metrics = self.folder / METRICS_FILE
        written = parse_metrics(metrics.read_text()) if metrics.exists() else []
        self.trainer.records = [record for record in written if record.epoch < self.trainer.position.epoch]


def metrics_text(records: Sequence[EpochRecord]) -> str:
    """One line an epoch; losses in full: a resumed run tells the very figures of an undisturbed one."""
    lines = [f"{r.epoch}\t{r.loss!r}\t{r.lr:.6g}\t{r.seconds:.1f}\t{r.peak_memory_mib}" for r in records]
    return "\n".join(["\t".join(METRICS), *lines]) + "\n"


def parse_metrics(text: str) -> list[EpochRecord]:
    """What `metrics_text` wrote."""
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return [
        EpochRecord(int(epoch), float(loss), float(lr), float(seconds), int(memory))
        for epoch, loss, lr, seconds, memory in rows
    ]


class FolderLock:
    """A folder is one run's. The lock is the folder's own, so that no file stays behind."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidRequest when another run has it."""
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InvalidRequest(
                f"{folder} is being written by another training; let it end or choose another --out."
            ) from None
        except OSError:
            return  # a network drive that doesn't lock folders

    def close(self) -> None:
        """Let others have it; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close


def check_out(folder: Path, *, resume: bool) -> None:
    """Makes the folder of a run. Raises InvalidRequest: a name no card can have, a folder that can't be
    written, a run that is there already."""
    _check_name(folder)
    try:
        try_writing(folder, folder=True)
    except OSError as error:
        raise InvalidRequest(f"--out {folder} can't be written: {error.strerror}.") from error
    _check_unfinished(folder)
    if (folder / STATE_FILE).exists() and not resume:
        raise InvalidRequest(f"{folder} holds an unfinished run; --resume continues it.")


def _check_unfinished(folder: Path) -> None:
    if (folder / CARD_FILE).exists():
        raise InvalidRequest(f"{folder} holds a finished checkpoint; choose another --out.")


def _check_name(folder: Path) -> None:
    if not NAME.fullmatch(folder.name):
        raise InvalidRequest(
            f"--out {folder}: the last part becomes the model's name: small letters, digits, dots, _ and -."
        )
