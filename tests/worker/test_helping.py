"""A worker that shares somebody else's job: what it takes, what it leaves, what it says."""

from contextvars import Context

import numpy as np
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from smoothcert.errors import BrokerUnavailable
from smoothcert.stats.schedule import plan_for
from tests.worker.conftest import write_model
from tests.worker.inside import LONG, MODEL, SHARED, Inside, Scripted, at, portions, undisturbed
from tests.worker.stand_in import BLOCK, SPEED, StandInVotes
from worker import drain
from worker.certifier import Certifier
from worker.hand import Division, Hand
from worker.pace import Pace


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
