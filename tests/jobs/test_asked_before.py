"""How often a question was asked before: counted at submission, once for each job, whatever becomes of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis

from smoothcert.errors import QueueFull
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.store import JobStore, Limits, Request, new_id, question_digest
from smoothcert.jobs.tasks import Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.schemas.job import Problem
from smoothcert.schemas.parameters import Parameters
from tests.jobs.tasks import HALF, N, begun, brought, certificate

DAY = 24 * 3600


def asked(votes: VoteStore, store: JobStore, request: Request) -> int | None:
    """What a new job's certificate will say."""
    return begun(votes, store.submit(request).job_id).asked_before


def test_each_job_says_how_many_asked_the_same_before(
    store: JobStore, votes: VoteStore, request_: Request
) -> None:
    assert [asked(votes, store, request_) for _ in range(3)] == [0, 1, 2]


def test_jobs_are_numbered_by_their_submission_whichever_begins_first(
    store: JobStore, votes: VoteStore, request_: Request
) -> None:
    first, second = store.submit(request_).job_id, store.submit(request_).job_id
    assert (begun(votes, second).asked_before, begun(votes, first).asked_before) == (1, 0)


@pytest.mark.parametrize(
    "same",
    [
        {"owner": "another"},
        {"lane": "batch", "batch_id": "b"},
        {"parameters": Parameters(sigma=0.5, n=2 * N, n0=7, alpha=0.01, target_radius=0.1)},
        {"parameters": Parameters(sigma=0.5, n=N, procedure="certify")},
        {"image": CertifiedImage.of(bytes(range(4)), (1, 2, 2), ["came another way"])},
    ],
    ids=["owner", "batch", "votes and alpha", "procedure", "file"],
)
def test_who_asks_and_with_how_many_votes_makes_no_other_question(
    store: JobStore, votes: VoteStore, request_: Request, same: dict[str, object]
) -> None:
    store.submit(request_)
    assert asked(votes, store, replace(request_, **same)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another"},
        {"parameters": Parameters(sigma=0.25, n=N)},
        {"image": CertifiedImage.of(bytes(4), (1, 2, 2), ["as it came"])},
        {"image": CertifiedImage.of(bytes(range(4)), (1, 1, 4), ["as it came"])},
    ],
    ids=["model", "sigma", "pixels", "shape"],
)
def test_another_model_sigma_or_image_is_another_question(
    store: JobStore, votes: VoteStore, request_: Request, other: dict[str, object]
) -> None:
    store.submit(request_)
    assert asked(votes, store, replace(request_, **other)) == 0  # type: ignore[arg-type]


def test_a_request_sent_again_is_no_second_one(store: JobStore, votes: VoteStore, request_: Request) -> None:
    keyed, job_id = replace(request_, idempotency_key="k", body="b"), new_id()
    assert store.submit(keyed, job_id).job_id == store.submit(keyed).job_id
    store.submit(keyed, job_id)  # the answer to the first call was lost
    assert begun(votes, job_id).asked_before == 0
    assert asked(votes, store, request_) == 1


def test_a_refused_submission_is_none(store: JobStore, votes: VoteStore, request_: Request) -> None:
    small = JobStore(store.client, Limits(queue_cap=1))
    first = small.submit(request_).job_id
    with pytest.raises(QueueFull):
        small.submit(request_)
    assert begun(votes, first).asked_before == 0
    assert asked(votes, store, request_) == 1


ENDS: dict[str, Callable[[VoteStore, JobStore, Task], object]] = {
    "cancelled": lambda _, store, task: store.cancel(task.job_id),
    "failed": lambda votes, _, task: votes.fail(task, Problem(title="t", status=500, detail="d")),
    "succeeded": lambda votes, _, task: votes.finish(task, certificate(task.seed), HALF),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_job_counts_however_it_ends(
    store: JobStore,
    votes: VoteStore,
    request_: Request,
    end: Callable[[VoteStore, JobStore, Task], object],
) -> None:
    """Its progress was seen by then."""
    end(votes, store, begun(votes, store.submit(request_).job_id))
    assert asked(votes, store, request_) == 1


def test_a_job_cancelled_while_it_waits_counts_too(
    store: JobStore, votes: VoteStore, request_: Request
) -> None:
    store.cancel(store.submit(request_).job_id)
    assert asked(votes, store, request_) == 1


def test_a_job_keeps_its_number_when_it_is_delivered_again_or_restarts(
    store: JobStore, votes: VoteStore, request_: Request
) -> None:
    store.submit(request_)
    job_id = store.submit(request_).job_id
    begun(votes, job_id)
    task = begun(votes, job_id)
    again = votes.restart(task)
    assert again is not None
    assert (task.asked_before, again.asked_before, begun(votes, job_id).asked_before) == (1, 1, 1)
    assert asked(votes, store, request_) == 2


def test_requests_at_once_get_different_numbers(store: JobStore, votes: VoteStore, request_: Request) -> None:
    with ThreadPoolExecutor(8) as several:
        submitted = list(several.map(lambda _: store.submit(request_).job_id, range(24)))
    assert sorted(begun(votes, job_id).asked_before or 0 for job_id in submitted) == list(range(24))


def test_the_count_lives_as_long_as_the_last_job_that_it_counts(
    store: JobStore, votes: VoteStore, request_: Request, client: redis.Redis
) -> None:
    task = begun(votes, store.submit(request_).job_id)
    key = f"{store.root}:asked:{question_digest(request_)}"
    client.expire(key, 5)
    brought(votes, task, 0, folded=1)
    assert DAY - 60 < client.ttl(key) <= DAY  # type: ignore[operator]


def test_a_record_of_an_older_service_has_no_number(
    store: JobStore, votes: VoteStore, request_: Request, client: redis.Redis
) -> None:
    job_id = store.submit(request_).job_id
    client.hdel(f"{store.root}:job:{job_id}", "question", "asked_before")
    assert begun(votes, job_id).asked_before is None
    assert store.cancel(job_id) == "cancelled"
