"""A job that several share: its holder asks, others take portions, and its counts are those of one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from datetime import UTC, datetime

import numpy as np
import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from certification.contract.store.leases import Leases
from certification.contract.store.workers import WorkerInfo
from certification.errors import BrokerUnavailable
from certification.schedule import plan_for
from tests.worker.conftest import write_model
from tests.worker.inside import EVERY_BATCH, MODEL, Inside, Scripted, undisturbed
from tests.worker.stand_in import BLOCK, SPEED, StandInVotes
from worker import company, drain
from worker.certifier import Certifier
from worker.hand import Division, Hand
from worker.pace import Pace

LONG = 64 * BLOCK
SHARED = 1e-9  # seconds of work left are worth sharing


@pytest.fixture
def helper(inside: Inside) -> Iterator[Certifier]:
    """w2, which lives and is idle."""
    info = WorkerInfo(id="w2", host="h", models=[MODEL], started_at=datetime.now(UTC))
    Leases(inside.client).beat(info, ttl=60)
    helper = inside.certifier("w2")
    helper.warm_up()
    yield helper
    drain._flag[0] = 0


def at(count: int, what: Callable[[], object]) -> None:
    """It happens before so many votes are counted, and once: whoever counts in it is left alone."""

    def before(counts: int) -> None:
        if counts == count:
            what()

    Scripted.before = before


def division(inside: Inside, job_id: str) -> bytes | None:
    return inside.client.hget(f"{inside.store.root}:job:{job_id}", "division")


def portions(inside: Inside, job_id: str) -> list[bytes]:
    return list(inside.client.hvals(f"{inside.store.root}:portions:{job_id}"))


def test_idle_workers_are_asked_and_what_they_bring_is_taken_up(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    asked: list[int] = []

    def help_out() -> None:
        asked.append(inside.messages())
        helper.help(job_id, None)

    at(4, help_out)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert asked == [1]
    (told,) = (line for line in logs if line["event"] == "divided")
    assert (told["job"], told["asked"]) == (job_id, 1)
    assert 0 < told["drawn"] < LONG
    helped = next(line["votes"] for line in logs if line["event"] == "helped")
    assert LONG // 2 < helped <= LONG - 2 * BLOCK, "it took all but what the holder had"
    assert "helping" in [line["event"] for line in logs]
    assert not any(votes.start % BLOCK for votes in Scripted.asked), "portions end where batches do"
    assert inside.counts(job_id) == undisturbed(LONG)
    assert inside.store.figures().count("votes", MODEL) == 100 + LONG
    assert inside.messages() == 1, "nobody is asked again and again"


def test_what_is_taken_up_is_kept_in_one_place_only(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    kept: list[int] = []

    def note(_: int) -> None:
        kept.append(len(inside.client.hkeys(f"{inside.store.root}:counts:{job_id}")))

    def stop(_: int) -> None:
        drain._flag[0] = 1  # the helper's first portion is its last

    def help_a_little() -> None:
        Scripted.before = stop
        helper.help(job_id, None)
        drain._flag[0] = 0
        note(0)
        Scripted.before = note

    at(4, help_a_little)
    inside.certifier(divide=SHARED).certify(job_id, None)
    assert kept[0] == 1, "what the helper brought"
    assert kept[-1] == 0, "the state holds it now"
    assert inside.counts(job_id) == undisturbed(LONG)


def test_each_line_of_a_helpers_log_names_job_and_request(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    seen: list[dict[str, object]] = []

    def help_elsewhere() -> None:
        Scripted.before = lambda _: seen.append(get_contextvars())
        Context().run(helper.help, job_id, None)  # as in a process of its own
        Scripted.before = lambda _: None

    at(4, help_elsewhere)
    inside.certifier(divide=SHARED).certify(job_id, None)
    assert seen
    assert all(said["job"] == job_id and "request" in said for said in seen)


def test_a_job_that_is_nearly_done_is_nobody_elses_business(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    inside.certifier(divide=60.0).certify(job_id, None)
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed(LONG))


def test_what_counts_is_the_work_left_not_the_work_done(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(8 * BLOCK)
    Scripted.before = lambda _: time.sleep(0.05)
    inside.certifier(divide=0.7).certify(job_id, None)  # 7 batches are left at most
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed())


def test_a_hand_learns_the_engines_speed_from_what_it_counts(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    pace = Pace(chunk=0.25, batch=BLOCK)

    def help_at_known_speed() -> None:
        asked = helper._shares.join(job_id)
        assert asked is not None
        source = StandInVotes(np.zeros((1, 2, 2), np.uint8), int(asked.seed, 16))
        which = Division(job_id, asked.division, plan_for(asked.parameters))
        hand = Hand(helper._shares, which, source, pace)
        assert hand.step()
        hand.leave()
        brought = hand.votes
        assert hand.step()
        assert hand.votes > brought, "what it put back it no longer counts"
        hand.leave()

    at(4, help_at_known_speed)
    inside.certifier(divide=SHARED).certify(job_id, None)
    assert SPEED / 50 < pace.rate <= SPEED, "or it would take portions of the wrong size"
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_worker_alone_asks_nobody(inside: Inside) -> None:
    job_id = inside.submit(LONG)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert not any(line["event"] == "divided" for line in logs)
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed(LONG))


def test_nobody_is_asked_while_others_wait(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    inside.submit(BLOCK)
    inside.certifier(divide=SHARED).certify(job_id, None)
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed(LONG))


def test_nobody_comes_to_a_job_that_is_not_divided(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit()
    with capture_logs() as logs:
        helper.help(job_id, None)
        helper.help("unknown", None)
    assert [(line["event"], line["job"]) for line in logs] == [
        ("nothing to share", job_id),
        ("nothing to share", "unknown"),
    ]
    assert Scripted.asked == []


def test_a_helper_with_other_weights_stays_away(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)

    def help_with_other_weights() -> None:
        write_model(inside.folder / MODEL, weights_sha256="1" * 64)
        helper.help(job_id, None)

    at(4, help_with_other_weights)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert "another classifier" in next(line["error"] for line in logs if line["event"] == "could not help")
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_helper_that_stops_takes_no_portion_with_it(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)

    def drained() -> None:
        drain._flag[0] = 1
        helper.help(job_id, None)
        drain._flag[0] = 0

    at(4, drained)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert [line["votes"] for line in logs if line["event"] == "helped"] == [0]
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_helper_that_fails_puts_its_portion_back(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    left: list[bytes] = []

    def fail() -> None:
        raise BrokerUnavailable

    def help_and_fail() -> None:
        at(5, fail)
        helper.help(job_id, None)
        left.extend(one for one in portions(inside, job_id) if b'"worker":""' in one)

    at(4, help_and_fail)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert any(line["event"] == "could not help" for line in logs)
    assert len(left) == 1
    assert b'"tries":0' in left[0], "that is no portion lost"
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_holder_that_stops_leaves_its_portion_to_the_next(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)

    def stop() -> None:
        drain._flag[0] = 1

    at(6, stop)
    inside.certifier(divide=SHARED).certify(job_id, None)
    drain._flag[0] = 0
    assert division(inside, job_id)
    assert all(b'"worker":""' in one for one in portions(inside, job_id)), "free at once, not after a lease"
    Scripted.before = lambda _: None
    helper.certify(job_id, None)
    assert inside.counts(job_id) == undisturbed(LONG)
    assert inside.job(job_id).attempts == 1


def test_a_holder_whose_division_is_gone_goes_on_alone(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    at(5, lambda: inside.client.hdel(f"{inside.store.root}:job:{job_id}", "division", "next"))
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    assert [line["job"] for line in logs if line["event"] == "division lost" and line["drawn"]] == [job_id]
    (late,) = (line for line in logs if line["event"] == "late")
    assert late["start"] in {votes.start for votes in Scripted.asked[:5]}, "the log says which votes are lost"
    assert inside.counts(job_id) == undisturbed(LONG)
    assert inside.store.figures().count("votes", MODEL) >= 100 + LONG


@pytest.mark.parametrize("count", [3, 5])  # 3: the first votes counted together
def test_a_shared_job_outlasts_a_broker_that_is_away(
    inside: Inside, helper: Certifier, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(company, "RETRY", 0.01)
    job_id = inside.submit(LONG)
    soon = threading.Timer(0.1, inside.refuse_writes, [False])

    def away() -> None:
        inside.refuse_writes()
        soon.start()

    at(count, away)
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
    soon.join()
    assert sum(line["event"] == "the broker is away" for line in logs) > 1
    assert all(
        line["job"] == job_id and line["error"] for line in logs if line["event"] == "the broker is away"
    )
    assert inside.counts(job_id) == undisturbed(LONG)
    assert inside.store.figures().count("votes", MODEL) == 100 + LONG


def test_patience_begins_with_the_brokers_last_answer(
    inside: Inside, helper: Certifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "PATIENCE", 0.5)
    monkeypatch.setattr(company, "RETRY", 0.01)
    job_id = inside.submit(LONG)
    soon = threading.Timer(0.1, inside.refuse_writes, [False])

    def before(count: int) -> None:
        if count == 4:
            time.sleep(0.6)
        if count == 6:
            inside.refuse_writes()
            soon.start()

    Scripted.before = before
    inside.certifier(divide=SHARED).certify(job_id, None)
    soon.join()
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_shared_job_does_not_wait_for_ever_for_its_broker(
    inside: Inside, helper: Certifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "PATIENCE", 0.05)
    monkeypatch.setattr(company, "RETRY", 0.03)
    job_id = inside.submit(LONG)
    at(5, inside.refuse_writes)
    with capture_logs() as logs, pytest.raises(BrokerUnavailable):
        inside.certifier(divide=SHARED).certify(job_id, None)
    (told,) = (line for line in logs if line["event"] == "portion not put back")
    assert told["job"] == job_id
    assert told["error"]
    inside.refuse_writes(False)
    assert inside.job(job_id).status == "running", "its lease will end"
    Scripted.before = lambda _: None
    inside.certifier(chunk=EVERY_BATCH).certify(job_id, None)
    assert inside.counts(job_id) == undisturbed(LONG)


def test_a_holder_that_can_ask_nobody_goes_on_alone(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    inside.client.acl_setuser("mute", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-lpush"])
    mute = inside.url.replace("redis://", "redis://mute@")
    with capture_logs() as logs:
        inside.certifier(divide=SHARED, redis_url=mute).certify(job_id, None)
    assert [line["job"] for line in logs if line["event"] == "not divided" and line["error"]][:1] == [job_id]
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed(LONG))
