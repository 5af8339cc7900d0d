"""What a worker says of itself with every sign of life."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class WorkerInfo(BaseModel):
    """One living worker. `id` changes with every start.

    ready: false while it loads what it loads before its first job; it takes no jobs until then.
    silence: seconds without a sign of life after which it counts as gone.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    host: str
    models: list[str]
    started_at: datetime
    ready: bool = True
    silence: int = 0
