"""What workers say of themselves: the parent at each sign of life, the child when it has loaded a model."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class WorkerStatus(BaseModel):
    """One living worker. `id` changes with every start.

    models: those it has loaded and takes jobs of. loading: those of its folder that it has yet to load.
    platform: its child's, "" until that is known.
    ready: false until it takes jobs of some model.
    silence: seconds without a sign of life after which it counts as gone.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    host: str
    models: list[str]
    loading: list[str] = []
    platform: str = ""
    started_at: datetime
    ready: bool = True
    silence: float = 0


class ChildStatus(BaseModel):
    """What a worker's child has loaded. id: changes with every child; the tasks of an earlier one are lost.
    platform: equal ones can repeat each other's votes."""

    model_config = ConfigDict(frozen=True)

    id: str
    platform: str
    models: list[str] = []
    silence: float = 0
