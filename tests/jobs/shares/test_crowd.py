"""Several workers on one job: whatever they do and in whatever order, each vote is counted once."""

import random
from itertools import pairwise

import pytest
import redis

from smoothcert.jobs.leases import Claim, Leases, Terms
from smoothcert.jobs.shares import Counted, Portion, Shares
from smoothcert.schemas.job import Progress
from tests.jobs.shares.taking import BATCH, WORKERS, N


class Crowd:
    """Workers that take, bring, die, come late and hand over at random; the holder takes up what came in."""

    def __init__(
        self, shares: dict[str, Shares], leases: Leases, claim: Claim, division: str, seed: int
    ) -> None:
        self.shares, self.leases, self.claim, self.division = shares, leases, claim, division
        self.random = random.Random(seed)
        self.held: dict[str, Portion] = {}
        self.dead: list[tuple[str, Portion]] = []
        self.drawn = 40

    def step(self) -> None:
        worker = self.random.choice(WORKERS)
        chosen = self.random.random()
        if chosen < 0.1 and worker in self.held:
            self.dead.append((worker, self.held.pop(worker)))
        elif chosen < 0.2 and self.dead:
            name, portion = self.random.choice(self.dead)
            self.shares[name].exchange(
                self.claim.job_id, self.division, done=Counted(portion, f"{portion.stop}")
            )
        elif chosen < 0.25:
            self.hand_over(worker)
        elif chosen < 0.5:
            self.merge()
        else:
            self.work(worker)

    def work(self, worker: str) -> None:
        portion = self.held.pop(worker, None)
        answer = self.shares[worker].exchange(
            self.claim.job_id,
            self.division,
            want=self.random.randint(BATCH, 90),
            batch=BATCH,
            done=Counted(portion, f"{portion.stop}") if portion else None,
        )
        if answer.portion:
            self.held[worker] = answer.portion

    def hand_over(self, worker: str) -> None:
        self.leases.hand_back(self.claim)
        claim = self.leases.claim(self.claim.job_id, worker, "x")
        assert isinstance(claim, Claim)
        self.claim, self.drawn = claim, int(claim.state or 0)

    def merge(self) -> None:
        counts = self.shares["w1"].gather(self.claim, self.division)
        assert counts is not None
        spans = sorted((start, int(stop)) for start, stop in counts.items())
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans)), "no vote is in two portions"
        taken = []
        while self.drawn in counts:
            taken.append(self.drawn)
            self.drawn = int(counts[self.drawn])
        if self.random.random() < 0.7:
            progress = Progress(samples=self.drawn, of=N)
            self.leases.progress(self.claim, str(self.drawn), progress, taken_up=taken)
        else:
            self.drawn = taken[0] if taken else self.drawn  # died before it could report


@pytest.mark.parametrize("seed", range(12))
def test_whatever_workers_do_every_vote_is_there_once(
    client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str, seed: int
) -> None:
    terms = Terms(lease=60, attempts=1000)
    patient = {name: Shares(client, name, "x", terms) for name in WORKERS}
    leases = Leases(client, terms)
    leases.renew(claim)
    crowd = Crowd(patient, leases, claim, division, seed)
    for _ in range(2000):
        crowd.step()
        if crowd.drawn == N:
            break
    assert crowd.drawn == N
