"""Workers in Redis: their status documents and heartbeats, and the sweep for abandoned jobs."""

from dataclasses import dataclass
from datetime import datetime

import redis
from pydantic import BaseModel, ConfigDict

from smoothcert.jobs.keys import MAX_DELIVERIES, ROOT
from smoothcert.jobs.scripts import Scripts, broker_errors
from smoothcert.jobs.tasks import EXHAUSTED, TIME_LIMIT, Message, Policy
from smoothcert.schemas.job import Problem


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


@dataclass(frozen=True)
class Sweep:
    """lost: messages to send. given_up: ids of jobs that ended because no worker has their model."""

    lost: tuple[Message, ...] = ()
    given_up: tuple[str, ...] = ()


def unserved(seconds: float) -> str:
    """The error of a job whose model no worker has, as JSON; the script fills in `{model}`."""
    return Problem(
        title="No worker has the model",
        status=503,
        detail=f"No worker has had the model {{model}} for {seconds:g} s, so this job was given up.",
    ).model_dump_json()


REFUSED = Problem(
    title="The worker failed", status=500, detail="The model {model} can't be loaded: {reason}"
).model_dump_json()


class WorkerStore:
    """Heartbeats and the sweep. Every method may raise BrokerUnavailable."""

    def __init__(self, client: redis.Redis, policy: Policy | None = None, root: str = ROOT) -> None:
        self.policy = policy or Policy()
        self.client, self.root = client, root
        self.scripts = Scripts(client, root)

    def beat(self, status: WorkerStatus, silence: float) -> ChildStatus | None:
        """Records a heartbeat, valid for `silence` seconds. Returns what the child announced."""
        text = status.model_copy(update={"silence": silence}).model_dump_json()
        child = self.scripts.run("beat", list="workers", worker=status.id, status=text, silence=silence)
        return ChildStatus.model_validate_json(child) if child else None

    def leave(self, worker: str) -> None:
        """Removes this worker, which stops."""
        self.scripts.run("beat", list="workers", worker=worker, status="", silence=0)
        self.lose_child(worker)

    def lose_child(self, worker: str) -> None:
        """Removes this worker's child, which has ended: the next sweep sends its jobs to others."""
        self.scripts.run("beat", list="children", worker=worker, status="", silence=0)

    def sweep(self, limit: int = 100) -> Sweep:
        """Finds open jobs that no task works on. Any number of workers may call it. limit: jobs per queue."""
        policy = self.policy
        lost, given_up = self.scripts.run(
            "sweep",
            ttl=policy.ttl,
            grace=policy.grace,
            time_limit=TIME_LIMIT + 60,
            patience=policy.unserved,
            max_deliveries=MAX_DELIVERIES,
            exhausted=EXHAUSTED,
            unserved=unserved(policy.unserved),
            refused=REFUSED,
            empty=self._empty_queues(),
            limit=limit,
        )
        messages = zip(lost[::3], lost[1::3], lost[2::3], strict=True)
        return Sweep(
            tuple(Message(job.decode(), queue.decode(), number) for job, queue, number in messages),
            tuple(job.decode() for job in given_up[::2]),
        )

    def _empty_queues(self) -> list[str]:
        """The Celery queues without a message, among those that jobs wait in."""
        with broker_errors():
            names = [name.decode() for name in self.client.hkeys(f"{self.root}:queues") if name]  # type: ignore[union-attr]
            pipeline = self.client.pipeline(transaction=False)
            for name in names:
                pipeline.llen(name)
            return [name for name, length in zip(names, pipeline.execute(), strict=True) if not length]
