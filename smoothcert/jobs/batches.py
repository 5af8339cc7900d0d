"""Batches: a name for several jobs. The jobs' own records stay the truth; a batch only lists them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from smoothcert.errors import KeyReused
from smoothcert.jobs.scripts import broker_errors
from smoothcert.jobs.store import JobStore, hashed, new_id
from smoothcert.schemas.job import Batch


@dataclass(frozen=True)
class BatchPlan:
    """A batch written down before its jobs are: `missing` are those of them that have no record."""

    batch_id: str
    job_ids: tuple[str, ...]
    missing: frozenset[str]


class Batches:
    """Beside the jobs, in the same store. Every method may raise BrokerUnavailable."""

    def __init__(self, store: JobStore) -> None:
        self.store = store

    def plan(self, size: int, owner: str, idempotency_key: str | None = None, body: str = "") -> BatchPlan:
        """A batch of `size` jobs, or the one that this key made before. Raises KeyReused.

        The ids of the jobs are drawn here: who was interrupted asks again, and submits what is missing.
        """
        record = {
            "owner": owner,
            "created": datetime.now(UTC).isoformat(),
            "jobs": [new_id() for _ in range(size)],
        }
        ttl, key = self.store.limits.ttl, hashed(idempotency_key)
        what, found = self.store.scripts.run(
            "batch",
            id=new_id(),
            owner=owner,
            batch=json.dumps(record),
            idempotency=key,
            body=body,
            ttl=ttl,
        )
        if what == b"conflict":
            raise KeyReused
        batch_id = found.decode()
        return self._plan(batch_id, record if what == b"created" else self._read(batch_id))

    def _plan(self, batch_id: str, record: dict[str, Any]) -> BatchPlan:
        found = zip(record["jobs"], self.store.jobs(record["jobs"]), strict=True)
        missing = frozenset(job_id for job_id, job in found if job is None)
        return BatchPlan(batch_id, tuple(record["jobs"]), missing)

    def drop(self, plan: BatchPlan) -> None:
        """Forgets a batch that came to nothing; its idempotency key is free again."""
        with broker_errors():
            self.store.client.delete(self._key(plan.batch_id))

    def batch(self, batch_id: str, owner: str) -> Batch | None:
        """The batch with its jobs as they are; None when unknown, expired or somebody else's."""
        record = self._read(batch_id)
        if record["owner"] != owner:
            return None
        jobs = [job for job in self.store.jobs(record["jobs"]) if job]
        return Batch.of(batch_id, datetime.fromisoformat(record["created"]), jobs)

    def _read(self, batch_id: str) -> dict[str, Any]:
        with broker_errors():
            stored: Any = self.store.client.get(self._key(batch_id))
        record: dict[str, Any] = json.loads(stored) if stored else {"owner": None, "jobs": []}
        return record

    def _key(self, batch_id: str) -> str:
        return f"{self.store.root}:batch:{batch_id}"
