"""The parameters of an evaluation, LOG.run.json beside its log. Only a run with the same ones resumes it."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.parameters import ProcedureName


class EvaluationRun(BaseModel):
    """Everything that decides the rows of an evaluation, except their number.

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


Run = TypeVar("Run", bound=EvaluationRun)


def run_path(log: Path) -> Path:
    """Path of a log's parameters."""
    return log.with_name(f"{log.name}.run.json")


def read_run(log: Path) -> EvaluationRun | None:
    """The parameters of a log; None without a file. Raises InvalidRequest if it cannot be read."""
    return read_run_as(EvaluationRun, log)


def read_run_as(kind: type[Run], log: Path) -> Run | None:
    """As `read_run`, for the parameters of another kind of log."""
    path = run_path(log)
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidRequest(f"{path} can't be read; start anew with another --out.") from error
