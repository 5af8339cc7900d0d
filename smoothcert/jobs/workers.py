"""Status documents of workers: the parent's and the child's, each sent with its heartbeats."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class WorkerStatus(BaseModel):
    """A worker. id: new at every start.

    models: loaded; it consumes their queues. loading: in its folder, but not loaded yet.
    platform: its child's; "" until known. ready: whether it has loaded a model.
    silence: seconds without a heartbeat after which it counts as gone.
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
    """A worker's child process. id: new for every child; tasks of an earlier child are lost.
    platform: equal platforms compute equal votes. models: loaded.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    platform: str
    models: list[str] = []
    silence: float = 0
