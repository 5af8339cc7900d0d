import re
from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from tests.service.shelf import MODEL, write_model
from tests.service.worker import StandInWorker

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_series_of_a_known_model_is_there_before_its_first_job(client: TestClient) -> None:
    found = samples(client)
    assert found["smoothcert_jobs_total", MODEL, "exhausted"] == 0
    assert found["smoothcert_tasks_lost_total", "child", MODEL] == 0
    assert found["smoothcert_queue_oldest_seconds", MODEL] == 0
    assert found["smoothcert_chunk_seconds_bucket", "+Inf", MODEL] == 0
    assert found["smoothcert_workers", MODEL] == 0


def test_a_job_is_counted_to_its_end(
    client: TestClient, worker: StandInWorker, post: Callable[..., dict]
) -> None:
    task = worker.begin(post()["id"])
    assert samples(client)["smoothcert_running_jobs",] == 1
    worker.finish(task)
    client.post(f"/jobs/{post()['id']}/cancel")
    post()
    worker.beat(MODEL)
    found = samples(client)
    assert found["smoothcert_jobs_submitted_total", MODEL] == 3
    assert found["smoothcert_jobs_total", MODEL, "certified"] == 1
    assert found["smoothcert_jobs_total", MODEL, "cancelled"] == 1
    assert found["smoothcert_job_seconds_count", MODEL] == 2
    assert found["smoothcert_queue_jobs", MODEL] == 1
    assert found["smoothcert_workers", MODEL] == 1
    assert 0 <= found["smoothcert_worker_heartbeat_age_seconds", "stand-in"] < 60


def test_counts_outlive_the_service_and_its_replicas_agree(
    client: TestClient, settings: Settings, post: Callable[..., dict]
) -> None:
    post()
    with TestClient(create_app(settings)) as other:
        assert samples(other)["smoothcert_jobs_submitted_total", MODEL] == 1


def test_requests_create_no_new_label_values(client: TestClient, digit: bytes, models: Path) -> None:
    client.get("/jobs/unknown")
    before = set(samples(client))
    for name in ("nope", "a:b", "x" * 90, "../etc"):
        client.post("/certify", files={"image": digit}, data={"model": name})
        client.get(f"/jobs/{name}")
    new = set(samples(client)) - before
    assert {labels for labels in new if not labels[0].startswith("smoothcert_http_request")} == set()
    assert len({labels[1:] for labels in new if labels[0] == "smoothcert_http_requests_total"}) <= 3
    write_model(models, "mnist-lenet-gaussian-1.00")
    assert ("smoothcert_queue_jobs", "mnist-lenet-gaussian-1.00") in samples(client)


def test_the_page_tells_of_every_metric_and_of_no_other(client: TestClient, digit: bytes) -> None:
    client.post("/certify", files={"image": digit})
    text = client.get("/metrics").text
    served = set(re.findall(r"^# TYPE (smoothcert_\w+)", text, re.MULTILINE))
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert {name for name in told if name.startswith("smoothcert_")} == served - {
        name for name in served if name.endswith("_created")
    }
    assert {name for name in told if name.startswith("process_")} <= set(
        re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    )
