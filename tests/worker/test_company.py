"""A job that several share: its holder asks, others take portions, and its counts are those of one."""

import time

import pytest
from structlog.testing import capture_logs

from smoothcert.errors import BrokerUnavailable
from tests.worker.inside import EVERY_BATCH, LONG, MODEL, SHARED, Inside, Scripted, at, portions, undisturbed
from tests.worker.stand_in import BLOCK
from worker import company, drain
from worker.certifier import Certifier


def division(inside: Inside, job_id: str) -> bytes | None:
    return inside.client.hget(f"{inside.store.root}:job:{job_id}", "division")


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


def test_a_job_that_is_nearly_done_is_nobody_elses_business(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(LONG)
    inside.certifier(divide=60.0).certify(job_id, None)
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed(LONG))


def test_what_counts_is_the_work_left_not_the_work_done(inside: Inside, helper: Certifier) -> None:
    job_id = inside.submit(8 * BLOCK)
    Scripted.before = lambda _: time.sleep(0.05)
    inside.certifier(divide=0.7).certify(job_id, None)  # 7 batches are left at most
    assert (inside.messages(), inside.counts(job_id)) == (0, undisturbed())


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
    at(count, lambda: inside.refuse_writes_for(0.1))
    with capture_logs() as logs:
        inside.certifier(divide=SHARED).certify(job_id, None)
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

    def before(count: int) -> None:
        if count == 4:
            time.sleep(0.6)
        if count == 6:
            inside.refuse_writes_for(0.1)

    Scripted.before = before
    inside.certifier(divide=SHARED).certify(job_id, None)
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
