"""Writes a log row by row, so that a kill loses only the row in progress, and resumes it.

LOG.run.json beside LOG holds the parameters: only a run with the same parameters may resume it. A device or
pipe receives the rows alone.
"""

import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from smoothcert.errors import InvalidRequest
from smoothcert.files import is_stream, open_stream, write_whole
from smoothcert.schemas.parameters import ProcedureName
from training.log import COLUMNS, Row, format_row, parse_log

SEED_BYTES = 16
HEADER = "\t".join(COLUMNS) + "\n"


class EvaluationRun(BaseModel):
    """The parameters of one evaluation: everything that decides its rows, except their number.

    data_sha256: of classes, labels and pixels, or of a folder's file names and sizes; absent from older logs.
    setup: the engine config as text; another one is another base classifier.
    int8_sha256: of the rounding, if the engine config is int8.
    skip_wrong: whether images whose chosen class is wrong get no estimation votes.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str
    dataset: str
    split: str
    split_images: int
    data_sha256: str | None = None
    every: int
    procedure: ProcedureName
    n0: int
    n: int
    alpha: float
    sigma: float
    target_radius: float | None = None
    tolerance: float | None = None
    seed: int
    setup: str
    int8_sha256: str | None = None
    skip_wrong: bool = False


def image_seed(run_seed: int, idx: int) -> str:
    """The seed of one image, 128 bits in hexadecimal: sha256 of the run's seed and the index."""
    return hashlib.sha256(f"{run_seed}:{idx}".encode()).digest()[:SEED_BYTES].hex()


def run_path(log: Path) -> Path:
    """Path of a log's parameters."""
    return log.with_name(f"{log.name}.run.json")


def read_run(log: Path) -> EvaluationRun | None:
    """The parameters of a log; None without a file. Raises InvalidRequest if it cannot be read."""
    path = run_path(log)
    try:
        return EvaluationRun.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidRequest(f"{path} can't be read; start anew with another --out.") from error


class LogWriter:
    """A log opened for appending, with an exclusive lock. rows: those that were there already."""

    def __init__(self, path: Path, run: EvaluationRun, *, resume: bool) -> None:
        """Raises InvalidRequest: the log exists (without `resume`), has other parameters, or is locked."""
        self.path = path
        if is_stream(path):
            self._file = _open_stream(path, resume=resume)
            self.rows: Sequence[Row] = self._write_header()
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

    def append(self, row: Row) -> None:
        """Write one row and flush it."""
        self._file.write(format_row(row).encode())
        self._file.flush()

    def _begin(self, run: EvaluationRun) -> Sequence[Row]:
        write_whole(run_path(self.path), run.model_dump_json(indent=1).encode() + b"\n")
        return self._write_header()

    def _write_header(self) -> Sequence[Row]:
        self._file.write(HEADER.encode())
        self._file.flush()
        return ()

    def _resume(self, written: bytes, run: EvaluationRun) -> Sequence[Row]:
        require_same_run(self.path, run)
        complete = written[: written.rfind(b"\n") + 1]  # without a line that a kill cut short
        self._file.truncate(len(complete))
        if not complete:
            return self._begin(run)
        return parse_log(complete.decode(errors="replace"), str(self.path)).rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def require_same_run(log: Path, run: EvaluationRun) -> None:
    """Raises InvalidRequest naming the first parameter in which a log differs from `run`."""
    saved = read_run(log)
    if saved is None:
        raise InvalidRequest(
            f"{log} has no {run_path(log).name} beside it, so what it asked is unknown; take another --out."
        )
    for name in EvaluationRun.model_fields:
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
