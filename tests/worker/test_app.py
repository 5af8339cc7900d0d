"""Whole workers: real processes, a real broker, and what happens to them."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from smoothcert.cli.processes import Broker, await_answer
from smoothcert.jobs.broker import connect
from smoothcert.schemas.certificate import PublicKeys
from smoothcert.signing import Signer, signature_problem
from smoothcert.votes import VoteRange
from tests.worker.conftest import write_model
from tests.worker.plant import MODEL, ROOT, Plant, eventually
from tests.worker.stand_in import StandInVotes

SEED = "0123456789abcdef" * 2
LONG = 250_000  # votes: 2.5 s of the stand-in

Counts = tuple[list[int], list[int]]  # selection, estimation


def undisturbed(n: int = LONG) -> Counts:
    """What the seed's votes are."""
    votes = StandInVotes(np.zeros((1, 2, 2), np.uint8), int(SEED, 16))
    selection, estimation = VoteRange("selection", 0, 100), VoteRange("estimation", 0, n)
    return votes.draw(selection).tolist(), votes.draw(estimation).tolist()


def counts_of(plant: Plant, job_id: str) -> Counts:
    """Those of a job that succeeded."""
    job = plant.ended(job_id)
    assert job.certificate is not None, job.error
    assert job.certificate.n == job.parameters.n
    return job.certificate.selection_counts, job.certificate.counts


def seeded(plant: Plant, n: int = LONG) -> str:
    """A job of a known seed."""
    job_id = plant.submit(n, send=False)
    plant.seed(job_id, SEED)
    plant.send(job_id)
    return job_id


def test_a_worker_certifies_a_job_and_says_what_it_did(steady: Plant) -> None:
    job = steady.ended(steady.submit())
    assert (job.status, job.attempts, job.error) == ("succeeded", 0, None)
    certificate = job.certificate
    assert certificate is not None
    assert (certificate.outcome, certificate.predicted_class, certificate.label) == ("certified", 0, "a")
    assert 0.68 < certificate.radius < 0.25 * (1.2816 + 1.5548)  # what 0.9 and 0.06 allow, from below
    assert certificate.engine.device == "stand-in"
    assert job.progress.samples == certificate.drawn == 50_000


def test_what_a_worker_does_is_counted(steady: Plant) -> None:
    before = steady.store.metrics()
    steady.ended(steady.submit(n=40_000))
    after = steady.store.metrics()

    def more(*what: str) -> int:
        return after.count(*what) - before.count(*what)

    assert more("votes", MODEL) == 40_000
    assert (more("submitted", MODEL), more("attempts", MODEL), more("jobs", MODEL, "certified")) == (1, 1, 1)
    chunks = after.histogram("chunk", MODEL)
    assert 0.4 <= chunks.seconds - before.histogram("chunk", MODEL).seconds < 20, "at 100 000 votes a second"
    assert chunks.buckets[-1][1] - before.histogram("chunk", MODEL).buckets[-1][1] >= 2
    assert [live.worker.ready for live in after.workers] == [True, True]


def test_workers_advertise_their_models(steady: Plant) -> None:
    assert [info.models for info in steady.store.workers()] == [["stand-in"]] * 2


def test_a_worker_shows_signs_of_life_where_it_is_told_to(plant: Plant, tmp_path: Path) -> None:
    shown = tmp_path / "alive"
    worker = plant.launch(SMOOTHCERT_ALIVE=shown)
    first = eventually(lambda: shown.exists() and shown.stat().st_mtime_ns)
    eventually(lambda: shown.stat().st_mtime_ns > first)
    eventually(lambda: shown.read_text() == "ready\n")
    worker.process.send_signal(signal.SIGSTOP)
    last = shown.stat().st_mtime_ns
    time.sleep(1.5)
    stopped = shown.stat().st_mtime_ns
    worker.process.send_signal(signal.SIGCONT)
    assert stopped == last


def test_votes_do_not_depend_on_how_they_were_cut(steady: Plant) -> None:
    assert counts_of(steady, seeded(steady)) == undisturbed()


def test_a_child_killed_mid_job_changes_no_count(steady: Plant) -> None:
    job_id = seeded(steady)
    steady.running(job_id, samples=LONG // 3)
    os.kill(steady.holder(job_id).child, signal.SIGKILL)
    assert counts_of(steady, job_id) == undisturbed()
    assert steady.job(job_id).attempts <= 1, "none if it was struck between two tasks"


def test_a_worker_killed_with_its_child_is_replaced_by_another(steady: Plant) -> None:
    job_id = seeded(steady)
    steady.running(job_id, samples=LONG // 3)
    doomed = steady.holder(job_id)
    child = doomed.child
    doomed.process.kill()
    assert counts_of(steady, job_id) == undisturbed()
    assert not Path(f"/proc/{child}").exists()
    doomed.process.wait()


def test_a_worker_asked_to_stop_leaves_its_job_to_another(steady: Plant) -> None:
    job_id = seeded(steady)
    steady.running(job_id, samples=LONG // 3)
    stopped = steady.holder(job_id)
    assert stopped.stop() == 0
    assert counts_of(steady, job_id) == undisturbed()
    assert steady.job(job_id).attempts == 0
    assert len(steady.store.workers()) == 1, "it took its leave"


def test_a_frozen_child_that_wakes_late_changes_nothing(steady: Plant) -> None:
    job_id = seeded(steady)
    steady.running(job_id, samples=LONG // 3)
    frozen = steady.holder(job_id)
    os.kill(frozen.child, signal.SIGSTOP)
    expected = steady.ended(job_id)
    os.kill(frozen.child, signal.SIGCONT)
    eventually(lambda: b'"event": "over"' in frozen.log.read_bytes() or None)
    assert steady.job(job_id) == expected
    assert counts_of(steady, job_id) == undisturbed()


def test_votes_of_weights_that_were_replaced_are_forgotten(plant: Plant) -> None:
    plant.staff("stand-in")  # a second worker could end the job with the weights that it began with
    job_id = seeded(plant)
    plant.running(job_id, samples=LONG // 3)
    write_model(plant.folder / MODEL, weights_sha256="1" * 64)
    (worker,) = plant.workers
    os.kill(worker.child, signal.SIGKILL)
    assert counts_of(plant, job_id) == undisturbed()
    certificate = plant.job(job_id).certificate
    assert certificate is not None
    assert certificate.model.sha256 == "1" * 64
    assert b'"restarted"' in worker.log.read_bytes()


def test_a_worker_whose_acknowledgement_was_lost_with_the_broker_takes_the_next_job(tmp_path: Path) -> None:
    write_model(tmp_path / MODEL)
    with Broker.start(tmp_path / "broker") as broker, connect(broker.url) as client:
        plant = Plant(broker.url, tmp_path, client)
        try:
            # The job ends in its first task; Celery's own heartbeat would wait for the broker before the ack.
            worker = plant.launch("--without-heartbeat", SMOOTHCERT_SLICE=30)
            job_id = plant.submit(LONG)
            plant.running(job_id)
            worker.process.send_signal(signal.SIGSTOP)  # its child goes on
            plant.ended(job_id)
            broker.process.kill()
            broker.process.wait()
            worker.process.send_signal(signal.SIGCONT)
            eventually(lambda: b"Couldn't ack" in worker.log.read_bytes() or None)
            await_answer(broker.url, 10, broker.restart())
            assert plant.ended(plant.submit()).status == "succeeded"
        finally:
            plant.close()


def test_a_lost_message_is_sent_again(steady: Plant) -> None:
    assert steady.ended(steady.submit(n=1000, send=False)).status == "succeeded"


def test_a_cancelled_job_keeps_the_radius_it_had(steady: Plant) -> None:
    job_id = steady.submit(n=1_000_000)
    steady.running(job_id, samples=50_000)
    worker = steady.holder(job_id)
    assert steady.store.cancel(job_id) == "cancelled"
    job = steady.job(job_id)
    assert job.status == "cancelled"
    assert job.certificate is not None
    assert job.certificate.radius > 0.5
    assert job.certificate.n < 1_000_000
    eventually(lambda: b'"event": "over"' in worker.log.read_bytes() or None)


def test_a_job_that_kills_its_workers_fails_and_the_workers_live_on(steady: Plant) -> None:
    job = steady.ended(steady.submit(n=1000, pixel=255))
    assert (job.status, job.attempts) == ("failed", 3)
    assert job.error is not None
    assert "3 attempts" in job.error.detail
    assert steady.ended(steady.submit(n=1000)).status == "succeeded"


def test_an_unexpected_error_ends_the_job_without_its_details(steady: Plant) -> None:
    job = steady.ended(steady.submit(n=1000, pixel=254))
    assert job.status == "failed"
    assert job.error is not None
    assert "device-side" not in job.error.detail
    eventually(lambda: any(b"device-side" in worker.log.read_bytes() for worker in steady.workers) or None)


def test_a_task_that_hangs_is_ended_by_celery_and_its_job_goes_on(plant: Plant) -> None:
    """As where a device never answers: the process is replaced, and the message delivered again."""
    app = plant.folder / "hasty.py"
    app.write_text("import worker.app\nworker.app.app.conf.task_time_limit = 2\napp = worker.app.app\n")
    plant.launch(app="hasty", PYTHONPATH=f"{ROOT}:{ROOT / 'tests/worker'}:{plant.folder}")
    job_id = seeded(plant)
    plant.running(job_id, samples=LONG // 3)
    os.kill(plant.holder(job_id).child, signal.SIGSTOP)
    assert counts_of(plant, job_id) == undisturbed()
    assert plant.job(job_id).attempts <= 1, "none if it was struck between two tasks"


def test_long_jobs_let_a_short_one_pass(steady: Plant) -> None:
    long = [seeded(steady), seeded(steady)]
    for job_id in long:
        steady.running(job_id)
    short = steady.ended(steady.submit(n=1000))
    assert short.status == "succeeded"
    assert not any(steady.job(job_id).ended for job_id in long)
    assert [counts_of(steady, job_id) for job_id in long] == [undisturbed()] * 2


def test_a_job_stays_on_its_platform_while_that_lives_and_starts_again_elsewhere_after(plant: Plant) -> None:
    plant.staff("one", "two")
    job_id = seeded(plant)
    plant.running(job_id, samples=LONG // 3)
    first = plant.holder(job_id)
    os.kill(first.child, signal.SIGKILL)
    certificate = plant.ended(job_id).certificate
    assert certificate is not None
    assert certificate.engine.device == first.device

    job_id = seeded(plant)
    plant.running(job_id, samples=LONG // 3)
    first = plant.holder(job_id)
    first.stop()
    assert counts_of(plant, job_id) == undisturbed()
    certificate = plant.job(job_id).certificate
    assert certificate is not None
    assert certificate.seed == SEED
    assert {certificate.engine.device, first.device} == {"one", "two"}


def test_a_worker_that_cannot_compute_ends(plant: Plant) -> None:
    worker = plant.launch(SMOOTHCERT_ENGINES="no_such_module:Engines")
    worker.process.wait(120)
    assert b"can't certify" in worker.log.read_bytes()


def test_a_worker_whose_signing_key_is_none_ends_and_says_how_to_mend_it(plant: Plant) -> None:
    key = plant.folder / "key.pem"
    key.write_text("no key")
    worker = plant.launch(SMOOTHCERT_SIGNING_KEY=key)
    worker.process.wait(120)
    told = next(line for line in worker.log.read_text().splitlines() if "can't certify" in line)
    assert f"{key} holds no private key" in json.loads(told)["why"]
    assert "smoothcert keys signing" in told
    assert "Traceback" not in told


def test_a_worker_with_a_key_signs_and_logs_the_request(plant: Plant) -> None:
    signer = Signer.draw()
    key = plant.folder / "key.pem"
    key.write_bytes(signer.pem())
    worker = plant.launch(SMOOTHCERT_SIGNING_KEY=key)
    certificate = plant.ended(plant.submit(request_id="shop-4711")).certificate
    assert certificate is not None
    assert signature_problem(certificate.model_dump(mode="json"), PublicKeys(keys=(signer.public,))) is None
    begun = next(line for line in worker.log.read_text().splitlines() if '"begun"' in line)
    assert json.loads(begun)["request"] == "shop-4711"
