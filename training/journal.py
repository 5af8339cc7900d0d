"""A log being written: row by row, so that a kill loses at most the row in flight, and continued afterwards.

Beside LOG stands LOG.run.json, which says what was asked: only a run that asks the same may continue it.
A device or a pipe gets the rows alone.
"""

import fcntl
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from smoothcert.errors import InvalidRequest
from smoothcert.files import is_stream, open_stream, write_whole
from smoothcert.schemas.parameters import ProcedureName
from training.log import COLUMNS, Row, format_row, parse_log

HEADER = "\t".join(COLUMNS) + "\n"


class Run(BaseModel):
    """What one evaluation asks: everything that decides its rows, except how many of them are wanted."""

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str
    dataset: str
    split: str
    split_images: int
    data_sha256: str | None = (
        None  # of a folder's classes, labels, names and sizes of files; old logs have none
    )
    every: int
    procedure: ProcedureName
    n0: int
    n: int
    alpha: float
    sigma: float
    target_radius: float | None = None
    tolerance: float | None = None
    seed: int
    # As smoothcert.engines.config.EngineConfig writes it: another one is another base classifier.
    setup: str
    int8_sha256: str | None = None  # of the rounding, for a set-up in int8


def run_path(log: Path) -> Path:
    """Where the run of a log is kept."""
    return log.with_name(f"{log.name}.run.json")


def read_run(log: Path) -> Run | None:
    """The run that wrote a log; None where none is kept. Raises InvalidRequest when it is not one."""
    path = run_path(log)
    try:
        return Run.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidRequest(f"{path} can't be read; start anew with another --out.") from error


class Journal:
    """The log file, open for appending and locked: two evaluations can't mix their rows."""

    def __init__(self, path: Path, run: Run, *, resume: bool) -> None:
        """Raises InvalidRequest: the log is there (without `resume`), is another run's, or is being
        written.
        """
        self.path = path
        if is_stream(path):
            self._file = _open_stream(path, resume=resume)
            self.rows: Sequence[Row] = self._headed()
            return
        self._file = _open_locked(path)
        try:
            written = path.read_bytes()
            if written and not resume:
                raise InvalidRequest(
                    f"{path} is there already; --resume continues it, another --out starts anew."
                )
            self.rows = self._continued(written, run) if written else self._begun(run)
        except BaseException:
            self._file.close()
            raise

    def append(self, row: Row) -> None:
        """Write one row; when this returns, a kill can no longer lose it."""
        self._file.write(format_row(row).encode())
        self._file.flush()

    def _begun(self, run: Run) -> Sequence[Row]:
        write_whole(run_path(self.path), run.model_dump_json(indent=1).encode() + b"\n")
        return self._headed()

    def _headed(self) -> Sequence[Row]:
        self._file.write(HEADER.encode())
        self._file.flush()
        return ()

    def _continued(self, written: bytes, run: Run) -> Sequence[Row]:
        check_same_run(self.path, run)
        whole = written[: written.rfind(b"\n") + 1]  # a line without its end was torn by a kill
        self._file.truncate(len(whole))
        return parse_log(whole.decode(errors="replace"), str(self.path)).rows if whole else self._begun(run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def check_same_run(log: Path, run: Run) -> None:
    """Raises InvalidRequest naming the first parameter in which a log's own run differs from the one
    wanted.
    """
    kept = read_run(log)
    if kept is None:
        raise InvalidRequest(
            f"{log} has no {run_path(log).name} beside it, so what it asked is unknown; take another --out."
        )
    for name in Run.model_fields:
        there, here = getattr(kept, name), getattr(run, name)
        if name == "data_sha256":
            if there not in (None, here):
                raise InvalidRequest(
                    f"{log} is of other images: the files of {run.dataset} have changed since."
                )
        elif there != here:
            raise InvalidRequest(
                f"{log} was made with {name} {there}, not {here}; ask the same or take another --out."
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
