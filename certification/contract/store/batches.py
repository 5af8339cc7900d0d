"""Batches: a name for several jobs. The jobs' own records stay the truth; a batch only lists them."""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from certification.contract.batch import Batch
from certification.contract.store.jobs import JobStore
from certification.contract.store.record import job_of
from certification.contract.store.scripts import broker_errors


class Batches:
    """Beside the jobs, in the same store. Every method may raise BrokerUnavailable."""

    def __init__(self, store: JobStore) -> None:
        self.store = store

    def make(self, job_ids: Sequence[str], owner: str) -> str:
        """The id of a new batch of these jobs, kept as long as a job's record is."""
        batch_id = secrets.token_urlsafe(18)
        said = {"owner": owner, "created": datetime.now(UTC).isoformat(), "jobs": list(job_ids)}
        with broker_errors():
            self.store.client.set(self._key(batch_id), json.dumps(said), ex=self.store.limits.ttl)
        return batch_id

    def batch(self, batch_id: str, owner: str) -> Batch | None:
        """The batch with its jobs as they are; None when unknown, expired or somebody else's."""
        with broker_errors():
            stored: Any = self.store.client.get(self._key(batch_id))
        said: dict[str, Any] = json.loads(stored) if stored else {"owner": None}
        if said["owner"] != owner:
            return None
        rows = self.store.scripts.run("view", *said["jobs"])
        jobs = [job_of(job_id, row) for job_id, row in zip(said["jobs"], rows, strict=True) if row]
        return Batch.of(batch_id, datetime.fromisoformat(said["created"]), jobs)

    def _key(self, batch_id: str) -> str:
        return f"{self.store.root}:batch:{batch_id}"
