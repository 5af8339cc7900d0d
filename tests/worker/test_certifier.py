"""One job from claim to end, and what is said of one that can't be carried out."""

import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from smoothcert.errors import InternalError, InvalidRequest
from tests.worker.conftest import write_model
from tests.worker.inside import MODEL, Inside, Scripted, undisturbed
from tests.worker.stand_in import BLOCK

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
        inside.certifier().certify(job_id, None)
    assert (logs[-1]["event"], logs[-1]["job"], logs[-1]["error"]) == ("failed", job_id, detail)
    unexpected = [line["job"] for line in logs if line["event"] == "unexpected"]
    assert unexpected == ([job_id] if detail == UNEXPECTED else [])
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
    inside.certifier().certify(job_id, None)
    error = inside.job(job_id).error
    assert error is not None
    assert error.detail == "The image of this job has expired."


def test_a_message_too_many_changes_nothing(inside: Inside) -> None:
    job_id = inside.submit()
    certifier = inside.certifier()
    certifier.certify(job_id, None)
    ended, asked = inside.job(job_id), len(Scripted.asked)
    with capture_logs() as logs:
        certifier.certify(job_id, None)
        certifier.certify("unknown", None)
    assert [(line["why"], line["job"]) for line in logs] == [("over", job_id), ("gone", "unknown")]
    assert (inside.job(job_id), len(Scripted.asked)) == (ended, asked)


def test_a_holder_that_lost_its_job_neither_ends_it_nor_sends_it_again(inside: Inside) -> None:
    job_id = inside.submit()
    Scripted.before = lambda count: count == 3 and inside.store.cancel(job_id)
    with capture_logs() as logs:
        inside.certifier().certify(job_id, None)
    assert (logs[-1]["event"], logs[-1]["job"]) == ("lost", job_id)
    assert logs[-1]["fence"] == logs[0]["fence"]
    assert (inside.job(job_id).status, inside.messages()) == ("cancelled", 0)


def test_weights_that_were_replaced_start_the_job_again_from_its_first_vote(inside: Inside) -> None:
    job_id = inside.submit()
    Scripted.before = lambda count: count == 5 and inside.submit(n=BLOCK)
    inside.certifier(quantum=1e-6).certify(job_id, None)
    assert inside.job(job_id).progress.samples > 0
    write_model(inside.folder / MODEL, weights_sha256="1" * 64)
    Scripted.asked, Scripted.before = [], lambda _: None
    certifier = inside.certifier()
    with capture_logs() as logs:
        while not inside.job(job_id).ended:
            certifier.certify(job_id, None)
    (again,) = (line for line in logs if line["event"] == "restarted")
    assert (again["job"], again["was"]) == (job_id, again["now"]), "the same set-up, other weights"
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert certificate.model.sha256 == "1" * 64
    assert inside.counts(job_id) == undisturbed()
    assert inside.store.figures().count("restarts", MODEL) == 1


def test_a_job_goes_on_under_the_set_up_that_cast_its_first_votes(inside: Inside) -> None:
    job_id = inside.submit()
    Scripted.before = lambda count: count == 5 and inside.submit(n=BLOCK)
    inside.certifier(quantum=1e-6).certify(job_id, None)
    Scripted.before = lambda _: None
    inside.certifier().certify(job_id, None)
    while not inside.job(job_id).ended:
        inside.certifier().certify(job_id, None)
    certificate = inside.job(job_id).certificate
    assert certificate is not None
    assert Scripted.wanted[0] is None
    assert Scripted.wanted[-1] == certificate.engine


def test_the_default_model_is_loaded_first_and_no_more_than_asked_for(inside: Inside) -> None:
    for name in ("a", "b", "z"):
        write_model(inside.folder / name)
    loaded: list[str] = []
    Scripted.loading = loaded.append
    inside.certifier(warm=0).warm_up()
    assert loaded == []
    inside.certifier(warm=3, default_model="z").warm_up()
    assert loaded == ["z", "a", "b"]


def test_a_model_that_cannot_be_loaded_costs_its_own_jobs_only(inside: Inside) -> None:
    write_model(inside.folder / "broken")
    loaded: list[str] = []

    def load(name: str) -> None:
        if name == "broken":
            raise InternalError("It is broken.")
        loaded.append(name)

    Scripted.loading = load
    certifier = inside.certifier(warm=2, default_model="broken")
    with capture_logs() as logs:
        certifier.warm_up()
    assert loaded == [MODEL]
    assert [(line["event"], line["model"]) for line in logs] == [("not loaded", "broken"), ("loaded", MODEL)]
    assert logs[0]["error"] == "It is broken."
    assert "stand-in" in logs[1]["engine"]
    assert inside.store.refused_models() == {"broken": "It is broken."}
    Scripted.loading = loaded.append
    certifier.warm_up()
    assert inside.store.refused_models() == {}
    job_id = inside.submit()
    certifier.certify(job_id, None)
    assert inside.counts(job_id) == undisturbed()


def test_a_worker_says_what_it_computes_on_before_its_first_job(inside: Inside) -> None:
    inside.certifier("w7").warm_up()
    assert inside.client.hgetall(f"{inside.store.root}:workers:platform") == {b"w7": b"stand-in"}
    inside.refuse_writes()
    with capture_logs() as logs:
        inside.certifier("w8").warm_up()
    assert logs[-1]["event"] == "not announced"
    assert logs[-1]["error"]


def test_the_log_tells_of_a_job_from_claim_to_end_and_each_line_names_it(inside: Inside) -> None:
    job_id = inside.submit()
    seen: list[dict[str, object]] = []
    Scripted.before = lambda _: seen.append(get_contextvars())
    with capture_logs() as logs:
        inside.certifier().certify(job_id, None)
    assert [line["event"] for line in logs] == ["claimed", "finished"]
    assert [line["job"] for line in logs] == [job_id, job_id]
    assert (logs[0]["model"], logs[0]["attempt"]) == (MODEL, 1)
    assert int(logs[0]["fence"]) > 0
    assert all(said["job"] == job_id and "request" in said for said in seen)
