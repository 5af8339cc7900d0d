"""One claimed job: as far as its turn allows, and not a vote more or less whatever happens meanwhile."""

import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.leases import Leases
from tests.worker.inside import Inside, Scripted, undisturbed
from tests.worker.stand_in import BLOCK, StandInVotes
from worker import drain, drive

ONCE = 60.0  # seconds: more than a test takes


@pytest.fixture
def drained() -> Iterator[None]:
    """Whoever was told to stop goes on after the test."""
    yield
    drain._flag[0] = 0


def test_each_chunk_is_reported_and_its_radius_grows(inside: Inside) -> None:
    job_id = inside.submit(procedure="anytime")
    seen = []
    Scripted.before = lambda _: seen.append(inside.job(job_id).progress)
    inside.certifier().certify(job_id, None)
    drawn = [0, *(votes.stop for votes in Scripted.asked[1:-1])]
    assert [progress.samples for progress in seen] == [0, *drawn]
    radii = [progress.radius for progress in seen if progress.radius]
    assert len(set(radii)) > 1
    assert radii == sorted(radii)
    assert inside.counts(job_id) == undisturbed()
    assert inside.store.figures().count("votes", "stand-in") == 100 + 8 * BLOCK


def test_a_chunk_is_not_reported_before_its_time(inside: Inside) -> None:
    job_id = inside.submit()
    seen = []
    Scripted.before = lambda _: seen.append(inside.job(job_id).progress.samples)
    inside.certifier(chunk=ONCE).certify(job_id, None)
    assert set(seen) == {0}
    assert inside.counts(job_id) == undisturbed()


def test_a_chunk_is_reported_when_its_time_is_over(inside: Inside) -> None:
    """That is what a kill may cost."""
    job_id = inside.submit(64 * BLOCK)
    seen: list[int] = []

    def before(_: int) -> None:
        seen.append(inside.job(job_id).progress.samples)
        time.sleep(0.05)

    Scripted.before = before
    inside.certifier(chunk=0.1).certify(job_id, None)
    assert len(seen) > 4
    assert max(seen.count(samples) for samples in seen) <= 2, "half a chunk each"


def test_a_quick_engine_is_asked_for_many_batches_at_once(inside: Inside) -> None:
    job_id = inside.submit(64 * BLOCK)
    inside.certifier(chunk=1.0).certify(job_id, None)
    assert len(Scripted.asked) < 16
    assert inside.counts(job_id) == undisturbed(64 * BLOCK)


def test_a_cancelled_job_is_left_after_the_chunk_that_runs(inside: Inside) -> None:
    job_id = inside.submit(procedure="anytime")
    Scripted.before = lambda count: count == 9 and inside.store.cancel(job_id)
    inside.certifier().certify(job_id, None)
    job = inside.job(job_id)
    assert (job.status, len(Scripted.asked)) == ("cancelled", 9)
    assert job.certificate is not None
    assert job.certificate.n == job.progress.samples == Scripted.asked[-1].start


def test_a_holder_whose_keeper_lost_the_job_stops_before_its_next_report(inside: Inside) -> None:
    job_id = inside.submit(n=1_000_000)

    def cancel(count: int) -> None:
        if count == 3:
            inside.store.cancel(job_id)
            threading.Event().wait(0.3)

    Scripted.before = cancel
    inside.certifier(chunk=ONCE, lease=0.3).certify(job_id, None)
    assert len(Scripted.asked) == 3


def test_a_job_whose_turn_is_over_waits_behind_the_others_and_goes_on_where_it_was(inside: Inside) -> None:
    long = inside.submit()
    short = []
    Scripted.before = lambda count: count == 3 and short.append(inside.submit(n=BLOCK))
    inside.certifier(quantum=1e-6).certify(long, None)
    job = inside.job(long)
    assert (job.status, job.queue_position, job.attempts) == ("queued", 1, 0)
    assert inside.messages() == 1, "somebody must hear that it waits again"
    certifier = inside.certifier(quantum=ONCE)
    Scripted.before = lambda _: None
    certifier.certify(long, None)
    assert inside.job(short[0]).ended, "the record says which is next"
    certifier.certify(long, None)
    assert inside.counts(long) == undisturbed()
    ranges = [(votes.stage, votes.start, votes.stop) for votes in Scripted.asked]
    assert len(set(ranges)) == len(ranges) - 2, "none is drawn twice, but for the short one's two"


@pytest.mark.parametrize(("quantum", "others"), [(1e-6, 0), (ONCE, 1)])
def test_a_turn_ends_only_when_it_is_over_and_others_wait(
    inside: Inside, quantum: float, others: int
) -> None:
    job_id = inside.submit()
    for _ in range(others):
        inside.submit()
    inside.certifier(quantum=quantum).certify(job_id, None)
    assert inside.counts(job_id) == undisturbed()


def test_a_worker_that_stops_hands_its_job_back_after_the_chunk_that_runs(
    inside: Inside, drained: None
) -> None:
    job_id = inside.submit()

    def stop(count: int) -> None:
        drain._flag[0] = count == 3

    Scripted.before = stop
    inside.certifier(chunk=ONCE).certify(job_id, None)
    job = inside.job(job_id)
    assert (job.status, job.attempts, len(Scripted.asked), inside.messages()) == ("queued", 0, 3, 1)
    assert job.progress.samples > 0


def test_a_broker_that_takes_no_reports_for_a_while_costs_no_vote(inside: Inside) -> None:
    job_id = inside.submit()
    Scripted.before = lambda count: inside.refuse_writes(2 <= count < 6)
    with capture_logs() as logs:
        inside.certifier(quantum=1e-6).certify(job_id, None)  # nobody waits, as far as it knows
    failed = [line for line in logs if line["event"] == "report failed"]
    assert failed
    assert all(line["job"] == job_id and line["error"] for line in failed)
    assert inside.counts(job_id) == undisturbed()
    assert len(Scripted.asked) == 1 + 8
    assert inside.store.figures().count("votes", "stand-in") == 100 + 8 * BLOCK


def test_a_finished_certificate_waits_for_a_broker_that_is_away(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = inside.submit()
    monkeypatch.setattr(drive, "FINISH_PATIENCE", 1.0)
    Scripted.before = lambda count: count == 9 and inside.refuse_writes_for(0.3)
    inside.certifier().certify(job_id, None)
    assert inside.counts(job_id) == undisturbed()


def test_a_broker_that_stays_away_leaves_the_job_to_the_next_holder(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "FINISH_PATIENCE", 0.1)
    monkeypatch.setattr(drive, "RETRY", 0.05)
    job_id = inside.submit()
    Scripted.before = lambda count: inside.refuse_writes(count == 9)
    certifier = inside.certifier()
    with pytest.raises(BrokerUnavailable):
        certifier.certify(job_id, None)
    inside.refuse_writes(False)
    assert inside.job(job_id).status == "running"
    certifier.certify(job_id, None)
    assert inside.counts(job_id) == undisturbed()
    assert inside.job(job_id).attempts == 2


@pytest.mark.parametrize("quantum", [1e-6, ONCE])
def test_the_slack_of_the_noise_is_in_the_certificate_whether_its_job_was_resumed_or_not(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, quantum: float
) -> None:
    monkeypatch.setattr(StandInVotes, "slack", 0.001)
    job_id = inside.submit()
    Scripted.before = lambda count: count == 3 and inside.submit(n=BLOCK)
    certifier = inside.certifier(quantum=quantum)
    while not inside.job(job_id).ended:
        certifier.certify(job_id, None)
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert certificate.slack == 0.001, "a radius without it would claim too much"


def test_a_holder_that_gets_on_keeps_its_job_however_long_it_takes(inside: Inside) -> None:
    job_id = inside.submit()
    claims: list[object] = []

    def before(count: int) -> None:
        time.sleep(0.15)
        if count == 9:
            time.sleep(0.45)  # longer than the lease that the last report renewed
            claims.append(Leases(inside.client).claim(job_id, "w2", "x"))

    Scripted.before = before
    inside.certifier(stall=0.8, lease=0.3).certify(job_id, None)
    assert claims == ["busy"]
    assert inside.counts(job_id) == undisturbed()
    assert inside.job(job_id).attempts == 1
