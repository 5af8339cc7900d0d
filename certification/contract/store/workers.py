"""What a worker says of itself with every sign of life."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class WorkerInfo(BaseModel):
    """One living worker. `id` changes with every start."""

    model_config = ConfigDict(frozen=True)

    id: str
    host: str
    models: list[str]
    started_at: datetime
