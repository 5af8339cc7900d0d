"""One task from begin to end, and what is said of a job that can't be carried out."""

import json
import time

import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.tasks import Policy
from smoothcert.jobs.workers import WorkerStore
from smoothcert.noise.normal import slack
from smoothcert.stats.verify import verify
from smoothcert.votes import VoteRange
from tests.jobs.tasks import alive
from tests.worker.conftest import write_model
from tests.worker.inside import AT_ONCE, MODEL, Inside, Scripted, at, undisturbed
from tests.worker.stand_in import BLOCK
from worker.certifier import SHARE_ABOVE

UNEXPECTED = "The worker met an error that it did not expect; its log has more."


def raises(error: Exception) -> object:
    """What happens before votes, or before a model is there."""

    def fail(_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "title", "detail"),
    [
        (InvalidRequest("Ask for less."), 422, "The request can't be carried out", "Ask for less."),
        (InternalError("The device is gone."), 500, "The worker failed", "The device is gone."),
        (RuntimeError("secret"), 500, "The worker failed", UNEXPECTED),
    ],
)
def test_an_error_ends_the_job_and_says_whose_it_is(
    inside: Inside, error: Exception, status: int, title: str, detail: str
) -> None:
    job_id = inside.submit()
    Scripted.before = raises(error)
    with capture_logs() as logs:
        inside.draw(inside.certifier(), job_id)
    assert (logs[-1]["event"], logs[-1]["error"]) == ("failed", detail)
    unexpected = [line for line in logs if line["event"] == "unexpected"]
    assert len(unexpected) == (detail == UNEXPECTED)
    job = inside.job(job_id)
    assert job.error is not None
    assert (job.status, job.error.status, job.error.title, job.error.detail) == (
        "failed",
        status,
        title,
        detail,
    )


def test_a_job_whose_image_expired_fails_and_says_so(inside: Inside) -> None:
    job_id = inside.submit()
    inside.client.delete(f"{inside.store.root}:image:{job_id}")
    inside.draw(inside.certifier(), job_id)
    error = inside.job(job_id).error
    assert error is not None
    assert error.detail == "The image of this job has expired."


def test_a_small_job_ends_in_its_first_task(inside: Inside) -> None:
    job_id = inside.submit()
    inside.draw(inside.certifier(), job_id)
    assert inside.counts(job_id) == undisturbed()
    assert (inside.job(job_id).attempts, inside.messages()) == (0, 0)


def test_a_message_too_many_changes_nothing(inside: Inside) -> None:
    job_id = inside.submit()
    certifier = inside.certifier()
    inside.draw(certifier, job_id)
    ended, asked = inside.job(job_id), len(Scripted.asked)
    with capture_logs() as logs:
        inside.draw(certifier, job_id)
        certifier.draw("unknown", 1, "unknown.1")
    assert [line["why"] for line in logs] == ["over", "gone"]
    assert (inside.job(job_id), len(Scripted.asked)) == (ended, asked)


def test_a_task_whose_job_was_cancelled_stops_and_sends_nothing(inside: Inside) -> None:
    job_id = inside.submit()
    at(3, lambda: inside.store.cancel(job_id))
    with capture_logs() as logs:
        inside.draw(inside.certifier(), job_id)
    assert logs[-1]["event"] == "over"
    assert (inside.job(job_id).status, inside.messages(), len(Scripted.asked)) == ("cancelled", 0, 3)


def test_a_job_larger_than_its_slice_goes_on_in_a_successor(inside: Inside) -> None:
    job_id = inside.submit()
    certifier = inside.certifier(slice=AT_ONCE)
    for ranges in range(1, 8):
        inside.draw(certifier, job_id)
        assert inside.job(job_id).progress.samples == ranges * BLOCK
        assert inside.message(job_id).queue == queue_of(MODEL), "behind the jobs that wait"
        assert inside.messages() == ranges, "each task left one message"
    inside.draw(certifier, job_id)
    assert inside.counts(job_id) == undisturbed()
    assert inside.job(job_id).attempts == 0


@pytest.mark.parametrize("procedure", ["certify", "anytime", "predict"])
def test_the_counts_do_not_depend_on_how_the_votes_were_cut_into_tasks(
    inside: Inside, procedure: str
) -> None:
    whole, cut = (inside.submit(procedure=procedure) for _ in range(2))  # type: ignore[arg-type]
    inside.run(inside.certifier(), whole)
    certifiers = [inside.certifier(name, slice=AT_ONCE) for name in ("w1", "w2")]
    while not inside.job(cut).ended:
        certifiers.reverse()
        inside.draw(certifiers[0], cut)
    assert inside.counts(cut) == inside.counts(whole)


def test_a_helper_draws_other_ranges_of_the_same_job(inside: Inside) -> None:
    job_id = inside.submit()
    helper = inside.certifier("w2")
    at(5, lambda: inside.help(helper, job_id))
    inside.draw(inside.certifier(), job_id)
    assert inside.counts(job_id) == undisturbed()
    estimation = [votes for votes in Scripted.asked if votes.stage == "estimation"]
    assert len(set(estimation)) == len(estimation) == 8, "each range was drawn once"


def test_a_task_alone_says_which_votes_it_expects_to_need_next(inside: Inside) -> None:
    inside.draw(inside.certifier(), inside.submit(n=4 * BLOCK))
    estimation = list(zip(Scripted.asked, Scripted.expected, strict=True))[1:]
    assert [(votes.stop // BLOCK, until // BLOCK) for votes, until in estimation] == [
        (1, 1),  # its time decides how large the next range is
        (2, 3),
        (3, 4),
        (4, 4),
    ]


def test_a_task_at_the_end_of_its_slice_expects_no_further_votes(inside: Inside) -> None:
    inside.run(inside.certifier(slice=AT_ONCE), inside.submit())
    assert all(until <= votes.stop for votes, until in zip(Scripted.asked, Scripted.expected, strict=True))


def test_a_helper_does_not_expect_the_range_after_its_first(inside: Inside) -> None:
    job_id, helper = inside.submit(), inside.certifier("w2")
    at(5, lambda: inside.help(helper, job_id))
    inside.draw(inside.certifier(), job_id)
    assert (Scripted.asked[5].stop // BLOCK, Scripted.expected[5] // BLOCK) == (5, 5)
    assert (Scripted.asked[6].stop // BLOCK, Scripted.expected[6] // BLOCK) == (6, 7)


def test_a_helper_leaves_for_a_job_that_waits_and_its_range_is_drawn_by_another(inside: Inside) -> None:
    job_id, helper = inside.submit(), inside.certifier("w2")
    waiting: list[str] = []

    def helped() -> None:
        helper.models.look()
        helper.models.beat()
        waiting.append(inside.submit(n=BLOCK))
        inside.help(helper, job_id)

    at(4, helped)
    inside.draw(inside.certifier(), job_id)
    assert inside.counts(job_id) == undisturbed()
    assert inside.job(job_id).attempts == 0
    assert inside.job(waiting[0]).status == "queued"


def test_idle_workers_are_asked_to_help_with_a_long_job_and_never_with_a_short_one(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    certifier, idle = inside.certifier(slice=AT_ONCE), inside.certifier("w2")
    for one in (certifier, idle):
        one.models.look()
        one.models.beat()
    job_id = inside.submit()
    inside.draw(certifier, job_id)
    assert inside.messages() == 1
    monkeypatch.setattr("worker.certifier.SHARE_ABOVE", 0.0)
    assert SHARE_ABOVE > 1
    with capture_logs() as logs:
        inside.draw(inside.certifier("w3", slice=1e9), job_id)
    asked = [line["workers"] for line in logs if line["event"] == "asked for help"]
    assert asked == [2], "w1 and w2 are idle, and asked once: their messages wait"
    assert inside.messages() == 3


def test_other_weights_start_the_job_again_from_its_first_vote(inside: Inside) -> None:
    job_id = inside.submit()
    inside.draw(inside.certifier(slice=AT_ONCE), job_id)
    write_model(inside.folder / MODEL, weights_sha256="1" * 64)
    with capture_logs() as logs:
        inside.run(inside.certifier(), job_id)
    (again,) = (line for line in logs if line["event"] == "restarted")
    assert again["was"] == again["now"], "the same engine, other weights"
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert certificate.model.sha256 == "1" * 64
    assert inside.counts(job_id) == undisturbed()
    assert inside.store.metrics().count("restarts", MODEL) == 1


def test_a_job_goes_on_under_the_engine_that_cast_its_first_votes(inside: Inside) -> None:
    job_id = inside.submit()
    inside.draw(inside.certifier(slice=AT_ONCE), job_id)
    inside.run(inside.certifier(), job_id)
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert Scripted.requested == [None, certificate.engine]


def test_a_broker_that_takes_no_writes_for_a_while_loses_no_votes(inside: Inside) -> None:
    job_id = inside.submit()
    at(4, lambda: inside.refuse_writes_for(0.7))
    with capture_logs() as logs:
        inside.draw(inside.certifier(), job_id)
    assert "the broker is away" in {line["event"] for line in logs}
    assert inside.counts(job_id) == undisturbed()
    assert len(Scripted.asked) == 9, "none was drawn twice"


def test_a_task_that_died_costs_its_range_only(inside: Inside) -> None:
    class Killed(BaseException):
        pass

    job_id = inside.submit()
    Scripted.before = lambda count: raises(Killed())(count) if count == 5 else None  # type: ignore[operator]
    with pytest.raises(Killed):
        inside.draw(inside.certifier(), job_id)
    inside.run(inside.certifier(), job_id)
    assert inside.counts(job_id) == undisturbed()
    assert inside.job(job_id).attempts == 1
    assert Scripted.asked[4] == Scripted.asked[5] == VoteRange("estimation", 3 * BLOCK, 4 * BLOCK)


def test_the_default_model_is_built_first_and_no_more_than_asked_for(inside: Inside) -> None:
    for name in ("a", "b", "z"):
        write_model(inside.folder / name)
    loaded: list[str] = []
    Scripted.loading = loaded.append
    inside.certifier(warm=2, default_model="z").models.load_first()
    assert loaded == ["z", "a"]


def test_a_model_that_cannot_be_loaded_costs_its_own_jobs_only(inside: Inside) -> None:
    write_model(inside.folder / "broken")

    def load(name: str) -> None:
        if name == "broken":
            raise InternalError("It is broken.")

    Scripted.loading = load
    certifier = inside.certifier(warm=2, default_model="broken")
    with capture_logs() as logs:
        certifier.models.load_first()
    assert [(line["event"], line["model"]) for line in logs] == [("not loaded", "broken"), ("loaded", MODEL)]
    assert logs[0]["error"] == "It is broken."
    assert inside.store.refused_models() == {"broken": "It is broken."}
    job_id = inside.submit()
    inside.draw(certifier, job_id)
    assert inside.counts(job_id) == undisturbed()


def test_a_model_that_was_mended_is_taken_again(inside: Inside) -> None:
    Scripted.loading = raises(InternalError("It is broken."))  # type: ignore[assignment]
    certifier = inside.certifier()
    certifier.models.look()
    certifier.models.beat()
    assert inside.store.refused_models() == {MODEL: "It is broken."}
    Scripted.loading = lambda _: None
    certifier.models.look()
    assert certifier.models.loaded == [], "the same weights are not tried again"
    write_model(inside.folder / MODEL, weights_sha256="1" * 64)
    certifier.models.look()
    certifier.models.beat()
    assert (certifier.models.loaded, inside.store.refused_models()) == ([MODEL], {})


def test_a_child_says_what_it_has_loaded_and_goes_on_where_the_broker_hears_nothing(inside: Inside) -> None:
    certifier = inside.certifier("w7")
    certifier.models.look()
    certifier.models.beat()
    status = inside.client.hget(f"{inside.store.root}:workers:child", "w7")
    assert isinstance(status, bytes)
    assert (json.loads(status)["platform"], json.loads(status)["models"]) == ("stand-in", [MODEL])
    inside.refuse_writes()
    with capture_logs() as logs:
        inside.certifier("w8").models.beat()
    assert logs[-1]["event"] == "no sign of life"


def test_a_job_that_only_this_platform_can_go_on_with_is_sent_on(inside: Inside) -> None:
    job_id = inside.submit()
    inside.draw(inside.certifier(slice=AT_ONCE), job_id)
    inside.client.hset(f"{inside.store.root}:job:{job_id}", "platform", "another")
    with capture_logs() as logs:
        inside.draw(inside.certifier(), job_id)
    assert [line["event"] for line in logs] == ["sent on"]


def test_a_swept_job_goes_on_where_its_dead_worker_left_it(inside: Inside) -> None:
    job_id, certifier = inside.submit(), inside.certifier()
    alive(certifier.votes)
    inside.draw(inside.certifier(slice=AT_ONCE), job_id)
    certifier.votes.begin(job_id, inside.message(job_id).number, "dies", "d")
    sweeper = WorkerStore(inside.client, Policy(grace=0.0))
    sweeper.leave("w1")
    (message,) = sweeper.sweep().lost
    inside.certifier("w2").draw(job_id, message.number, message.task_id)
    assert inside.counts(job_id) == undisturbed()


def test_the_log_tells_of_a_job_from_begin_to_end_and_each_line_names_its_request(inside: Inside) -> None:
    job_id = inside.submit()
    seen: list[dict[str, object]] = []
    Scripted.before = lambda _: seen.append(get_contextvars())
    with capture_logs() as logs:
        inside.draw(inside.certifier(), job_id)
    assert [line["event"] for line in logs] == ["begun", "finished"]
    assert (logs[0]["model"], logs[0]["range"]) == (MODEL, 0)
    assert all("request" in context for context in seen)


def test_a_deadline_ends_a_job_with_what_is_proved_by_then(inside: Inside) -> None:
    """Each count takes 20 ms, so that the votes of the whole job would take hours."""
    Scripted.before = lambda _: time.sleep(0.02)
    job_id, certifier = inside.submit(10_000_000, "anytime", deadline=1.0), inside.certifier()
    inside.draw(certifier, job_id)
    job = inside.job(job_id)
    assert job.status == "succeeded"
    assert job.started_at is not None
    assert job.finished_at is not None
    certificate = job.certificate
    assert certificate is not None
    assert (certificate.outcome, certificate.ended_by, certificate.deadline) == ("certified", "deadline", 1.0)
    assert 0 < certificate.n <= (certificate.drawn or 0) < 10_000_000
    usual = certificate.model_copy(update={"slack": slack(0.5, 4)})  # the stand-in's noise has none
    assert verify(usual).first_wrong is None
    assert (job.finished_at - job.started_at).total_seconds() < 10  # with patience for a busy machine


def test_a_job_that_ends_before_its_deadline_does_not_mention_it(inside: Inside) -> None:
    job_id = inside.submit(8 * BLOCK, "anytime", deadline=600.0)
    inside.draw(inside.certifier(slice=AT_ONCE), job_id)  # in one task: near its deadline a job is held
    certificate = inside.job(job_id).certificate
    assert certificate is None or certificate.ended_by is None
    inside.run(inside.certifier(), job_id)
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert (certificate.ended_by, certificate.drawn) == (None, 8 * BLOCK)


def test_a_task_that_begins_after_the_deadline_ends_the_job_without_another_vote(inside: Inside) -> None:
    """The work began long ago; a task was lost, or waited behind other jobs."""
    job_id, certifier = inside.submit(10_000_000, "anytime", deadline=300.0), inside.certifier(slice=AT_ONCE)
    inside.draw(certifier, job_id)
    drawn, key = len(Scripted.asked), f"{inside.store.root}:job:{job_id}"
    began = int(inside.client.hget(key, "started") or 0)  # type: ignore[arg-type]
    inside.client.hset(key, "started", began - 301 * 10**6)
    inside.draw(certifier, job_id)
    job = inside.job(job_id)
    assert job.status == "succeeded"
    assert job.certificate is not None
    assert job.certificate.ended_by == "deadline"
    assert len(Scripted.asked) == drawn


def test_certificates_say_how_often_the_same_was_asked_before(inside: Inside) -> None:
    first, cancelled, third = (inside.submit() for _ in range(3))
    certifier = inside.certifier(slice=AT_ONCE)
    inside.draw(certifier, cancelled)
    inside.store.cancel(cancelled)
    for job_id in (third, first):
        inside.run(certifier, job_id)
    certificates = [inside.job(job_id).certificate for job_id in (first, third)]
    assert [certificate and certificate.asked_before for certificate in certificates] == [0, 2]


@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
def test_progress_says_what_to_expect_until_the_job_ends(inside: Inside, end: str) -> None:
    job_id, certifier = inside.submit(procedure="anytime"), inside.certifier(slice=AT_ONCE)
    assert inside.job(job_id).progress.forecast is None
    inside.draw(certifier, job_id)
    expected = inside.job(job_id).progress.forecast
    assert expected is not None
    assert expected.votes == 8 * BLOCK
    assert expected.seconds > 0
    assert expected.radius is not None
    inside.run(certifier, job_id) if end == "succeeded" else inside.store.cancel(job_id)
    job = inside.job(job_id)
    assert (job.status, job.progress.forecast) == (end, None)
    if end == "succeeded":
        assert job.certificate is not None
        assert expected.radius == pytest.approx(job.certificate.radius, rel=0.3)
