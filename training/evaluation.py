"""Certifies the images of a data set one by one, into a log and a model's card.

Each row can be replayed from its own seed. A kill loses only the row in progress.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InvalidRequest
from smoothcert.evaluation import row_of
from smoothcert.files import is_stream, open_stream, try_writing, write_whole
from smoothcert.models.checkpoint import save_card
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas import card as card_schema
from smoothcert.schemas.card import Evaluation, ModelCard
from smoothcert.schemas.evaluation_log import (
    HEADER,
    Row,
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    format_row,
    parse_log,
)
from smoothcert.schemas.evaluation_run import EvaluationRun, read_run_as, run_path
from smoothcert.schemas.limits import image_seed
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, drive
from smoothcert.votes import VoteSource
from training.datasets.image_set import ImageSet

T = TypeVar("T")
CHUNK = 16_384  # votes between two progress reports; a multiple of usual batch sizes
GRID_STEP = 5  # of the card's radii, in hundredths


class Sampling(Protocol):
    """Draws votes; smoothcert.engines.engine.Engine implements it."""

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> VoteSource: ...


@dataclass(frozen=True)
class EvaluationProgress:
    """Votes drawn for the current image, of those planned; its row once it is finished."""

    idx: int
    votes: int
    of: int
    row: Row | None = None


def parameters_of(run: EvaluationRun) -> Parameters:
    """The request that is made for every image."""
    return Parameters.model_validate({name: getattr(run, name, None) for name in Parameters.model_fields})


def selected_indices(total: int, every: int, limit: int | None) -> range:
    """Indices 0, every, 2 every, ... of `total` images; at most `limit` of them."""
    indices = range(0, total, every)
    return indices if limit is None else indices[:limit]


def evaluate(
    engine: Sampling, images: ImageSet, run: EvaluationRun, indices: Sequence[int]
) -> Iterator[EvaluationProgress]:
    """Certify these images in order. Raises ImpossibleRequest before the first vote."""
    parameters = parameters_of(run)
    for idx in indices:
        yield from _certify(engine, images, run, parameters, idx)


def _certify(
    engine: Sampling, images: ImageSet, run: EvaluationRun, parameters: Parameters, idx: int
) -> Iterator[EvaluationProgress]:
    started = time.perf_counter()
    seed = int(image_seed(run.seed, idx), 16)
    source = engine.sampler(images.images_u8[idx].numpy(), run.sigma, seed)
    certification = Certification(parameters, source.num_classes, slack=source.slack)
    label = int(images.labels[idx])
    for progress in drive(certification, source, CHUNK):
        yield EvaluationProgress(idx, progress.samples, progress.of)
        if run.skip_wrong and certification.candidate not in (None, label):
            break
    row = row_of(certification.result, run, idx, label, time.perf_counter() - started)
    if row.skipped:
        assert certification.candidate is not None
        row = replace(row, predict=certification.candidate)
    yield EvaluationProgress(idx, run.n, run.n, row)


def card_figures(rows: Sequence[Row], run: EvaluationRun) -> Evaluation:
    """ACR and the certified-accuracy curve on a grid of radii, with the protocol."""
    bounds = {row.evidence.bound for row in rows if row.evidence}
    return Evaluation(
        images=len(rows),
        acr=average_certified_radius(rows),
        certified_accuracy=accuracy_on_grid(rows),
        abstention_rate=abstention_rate(rows),
        protocol=card_schema.Protocol(
            split=run.split,
            every=run.every,
            n0=run.n0,
            n=run.n,
            alpha=run.alpha,
            procedure=run.procedure,
            bound=", ".join(sorted(bounds)),
            engine=run.setup,
        ),
    )


def accuracy_on_grid(rows: Sequence[Row]) -> dict[str, float]:
    """Certified accuracy at radii 0.00, 0.05, ... up to the first at which it is 0."""
    curve: dict[str, float] = {}
    for hundredths in range(0, 10_000, GRID_STEP):
        curve[f"{hundredths / 100:.2f}"] = share = certified_accuracy(rows, hundredths / 100)
        if share == 0:
            break
    return curve


def require_updatable_card(folder: Path, dataset: str) -> ModelCard:
    """The checkpoint's card. Raises InvalidRequest: the model was trained on another data set, or the card
    cannot be written."""
    card = read_card(folder)
    if dataset.partition(":")[0] != card.dataset:
        raise InvalidRequest(f"--update-card: {card.name} was trained on {card.dataset}, not {dataset}.")
    try:
        try_writing(folder / CARD_FILE)
    except OSError as error:
        raise InvalidRequest(
            f"--update-card: {folder / CARD_FILE} can't be written: {error.strerror}."
        ) from error
    return card


def write_card_figures(folder: Path, rows: Sequence[Row], run: EvaluationRun) -> ModelCard:
    """Write the figures into the card; those of an int8 run into its int8 part.

    Raises InvalidRequest: as `require_updatable_card`, no rows, or the model has another int8 rounding now.
    """
    card = require_updatable_card(folder, run.dataset)
    if not rows:
        raise InvalidRequest(f"--update-card: no image was certified, so there is no figure for {card.name}.")
    card = card.model_copy(update=_updated_fields(card, card_figures(rows, run), run))
    save_card(folder, card)
    return card


def _updated_fields(card: ModelCard, evaluation: Evaluation, run: EvaluationRun) -> dict[str, Any]:
    if run.int8_sha256 is None:
        return {"evaluation": evaluation}
    if card.int8 is None or card.int8.sha256 != run.int8_sha256:
        raise InvalidRequest(
            f"--update-card: {card.name} has another int8 rounding now than when it was run."
        )
    return {"int8": card.int8.model_copy(update={"evaluation": evaluation})}


@dataclass(frozen=True)
class LogFormat(Generic[T]):
    """How a log of tab-separated lines is written and read. header and lines end with a newline.

    read: all items of a text with header; the second argument is the file's name, for messages.
    """

    header: str
    line: Callable[[T], str]
    read: Callable[[str, str], Sequence[T]]


ROWS = LogFormat(HEADER, format_row, lambda text, name: parse_log(text, name).rows)


class LogWriter(Generic[T]):
    """A log opened for appending, with an exclusive lock. rows: those that were there already."""

    def __init__(self, path: Path, run: EvaluationRun, form: LogFormat[T], *, resume: bool) -> None:
        """Raises InvalidRequest: the log exists (without `resume`), has other parameters, or is locked."""
        self.path = path
        self.form = form
        if is_stream(path):
            self._file = _open_stream(path, resume=resume)
            self.rows: Sequence[T] = self._write_header()
            return
        self._file = _open_locked(path)
        try:
            written = path.read_bytes()
            if written and not resume:
                raise InvalidRequest(
                    f"{path} is there already; --resume continues it, another --out starts anew."
                )
            self.rows = self._resume(written, run) if written else self._begin(run)
        except BaseException:
            self._file.close()
            raise

    def append(self, row: T) -> None:
        """Write one row and flush it."""
        self._file.write(self.form.line(row).encode())
        self._file.flush()

    def _begin(self, run: EvaluationRun) -> Sequence[T]:
        write_whole(run_path(self.path), run.model_dump_json(indent=1).encode() + b"\n")
        return self._write_header()

    def _write_header(self) -> Sequence[T]:
        self._file.write(self.form.header.encode())
        self._file.flush()
        return ()

    def _resume(self, written: bytes, run: EvaluationRun) -> Sequence[T]:
        require_same_run(self.path, run)
        complete = written[: written.rfind(b"\n") + 1]  # without a line that a kill cut short
        self._file.truncate(len(complete))
        if not complete:
            return self._begin(run)
        return self.form.read(complete.decode(errors="replace"), str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def require_same_run(log: Path, run: EvaluationRun) -> None:
    """Raises InvalidRequest naming the first parameter in which a log differs from `run`."""
    saved = read_run_as(type(run), log)
    if saved is None:
        raise InvalidRequest(
            f"{log} has no {run_path(log).name} beside it, so what it asked is unknown; take another --out."
        )
    for name in type(run).model_fields:
        old, new = getattr(saved, name), getattr(run, name)
        if name == "data_sha256":
            if old not in (None, new):
                raise InvalidRequest(
                    f"{log} is of other images: the files of {run.dataset} have changed since."
                )
        elif old != new:
            raise InvalidRequest(
                f"{log} was made with {name} {old}, not {new}; ask the same or take another --out."
            )


def _open_stream(path: Path, *, resume: bool) -> BinaryIO:
    if resume:
        raise InvalidRequest(f"{path} keeps no rows, so that --resume has none to continue.")
    try:
        return open_stream(path)
    except OSError as error:
        raise InvalidRequest(f"--out {path} can't be written: {error.strerror}.") from error


def _open_locked(path: Path) -> BinaryIO:
    try:
        file = path.open("ab")
    except OSError as error:
        raise InvalidRequest(f"--out {path} can't be written: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InvalidRequest(f"{path} is being written by another evaluation; let it end.") from None
    return file
