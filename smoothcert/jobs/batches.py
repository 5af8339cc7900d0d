"""Batches: several jobs under one id. A batch only lists its jobs; their state is in their own records."""

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
    """A batch, stored before its jobs. missing: ids of the jobs that have no record yet."""

    batch_id: str
    job_ids: tuple[str, ...]
    missing: frozenset[str]


class Batches:
    """The batches in a job store. Every method may raise BrokerUnavailable."""

    def __init__(self, store: JobStore) -> None:
        self.store = store

    def plan(self, size: int, owner: str, idempotency_key: str | None = None, body: str = "") -> BatchPlan:
        """A new batch of `size` jobs, or the one that this key created before. Raises KeyReused.

        The job ids are stored here, so that an interrupted client can retry and submit the missing jobs.
        """
        record = {
            "owner": owner,
            "created": datetime.now(UTC).isoformat(),
            "jobs": [new_id() for _ in range(size)],
        }
        ttl, key = self.store.limits.ttl, hashed(idempotency_key)
        status, stored_id = self.store.scripts.run(
            "batch",
            id=new_id(),
            owner=owner,
            batch=json.dumps(record),
            idempotency=key,
            body=body,
            ttl=ttl,
        )
        if status == b"conflict":
            raise KeyReused
        batch_id = stored_id.decode()
        return self._plan(batch_id, record if status == b"created" else self._read(batch_id))

    def _plan(self, batch_id: str, record: dict[str, Any]) -> BatchPlan:
        jobs = zip(record["jobs"], self.store.jobs(record["jobs"]), strict=True)
        missing = frozenset(job_id for job_id, job in jobs if job is None)
        return BatchPlan(batch_id, tuple(record["jobs"]), missing)

    def drop(self, plan: BatchPlan) -> None:
        """Deletes a batch whose submission failed; its idempotency key is free again."""
        with broker_errors():
            self.store.client.delete(self._key(plan.batch_id))

    def batch(self, batch_id: str, owner: str) -> Batch | None:
        """The batch with its jobs; None if unknown, expired or another owner's."""
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
