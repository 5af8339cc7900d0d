"""The application around the routes: its schema, its headers, what it does not load."""

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from service import openapi
from service.app import create_app
from service.jobs import JobList
from service.settings import Settings
from smoothcert.cli.processes import free_port
from smoothcert.jobs.store import JobStore
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Batch, Job
from tests.service.shelf import MODEL, STATEMENT, write_model
from tests.service.worker import StandInWorker, certificate, progress

HEAVY = ("torch", "torchvision", "scipy", "statsmodels", "matplotlib")


def test_the_service_never_loads_what_computes() -> None:
    code = (
        f"import service.app, sys; service.app.create_app(); print([m for m in {HEAVY} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_models_are_listed_and_a_new_folder_is_served_at_once(client: TestClient, models: Path) -> None:
    assert [card["name"] for card in client.get("/models").json()] == [MODEL]
    card = write_model(models, "mnist-lenet-gaussian-1.00", sigma=1.0)
    assert client.get(f"/models/{card.name}").json()["sigma"] == 1.0
    assert len(client.get("/models").json()) == 2


def test_a_model_says_how_fast_it_answers_here_and_how_many_wait(
    client: TestClient, worker: StandInWorker, post: Callable[..., dict]
) -> None:
    before = client.get("/models").json()[0]
    assert (before["votes_per_second"], before["waiting"]) == (None, 0)
    task = worker.begin(post()["id"])
    post()
    proved = certificate(task, 1000, 1.5)
    worker.votes.finish(task, proved, progress(1000, 1.5), votes=1000, seconds=0.5)
    after = client.get(f"/models/{MODEL}").json()
    assert after["votes_per_second"] == pytest.approx(2000)
    assert after["waiting"] == 1
    assert client.get("/models").json() == [after]


def test_the_statement_of_a_model_is_on_its_card_and_served_as_it_was_signed(
    client: TestClient, models: Path
) -> None:
    write_model(models, "stated", statement=STATEMENT)
    write_model(models, "incomplete", no_statement="its log is of 162 of the 500 images.")
    card = client.get("/models/stated").json()["statement"]
    written = json.loads(STATEMENT.read_text())
    assert card == {"sha256": sha256(STATEMENT.read_bytes()).hexdigest()} | {
        name: written[name] for name in ("images", "beta", "radii")
    }
    answer = client.get("/models/stated/statement")
    assert (answer.content, answer.headers["content-type"]) == (STATEMENT.read_bytes(), "application/json")
    assert 'filename="statement-stated.json"' in answer.headers["content-disposition"]
    for name, reason in (("incomplete", "162 of the 500"), (MODEL, "no statement"), ("none", "no model")):
        answer = client.get(f"/models/{name}/statement")
        assert answer.status_code == 404
        assert reason in answer.json()["detail"]


def test_another_statement_than_the_cards_is_not_served(client: TestClient, models: Path) -> None:
    write_model(models, "stated", statement=STATEMENT)
    file = models / "stated" / STATEMENT.name
    file.write_text(file.read_text().replace("500", "501"))
    assert client.get("/models/stated/statement").status_code == 503
    file.unlink()
    assert client.get("/models/stated/statement").status_code == 503


def test_a_model_that_can_not_run_is_not_listed_and_readiness_names_it(
    client: TestClient, worker: StandInWorker, models: Path, digit: bytes
) -> None:
    worker.beat(MODEL)
    assert client.get("/health/ready").status_code == 200
    write_model(models, "strange")
    card = models / "strange" / "card.json"
    card.write_text(card.read_text().replace('"lenet"', '"vit-of-mine"'))
    assert [served["name"] for served in client.get("/models").json()] == [MODEL]
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "strange is left out" in answer.json()["detail"]
    assert "vit-of-mine" in answer.json()["detail"]
    sent = client.post("/certify", files={"image": digit}, data={"model": "strange"})
    assert sent.status_code == 503


def test_a_model_that_no_worker_can_load_is_not_ready_and_says_why(
    client: TestClient, worker: StandInWorker, service_store: JobStore
) -> None:
    worker.beat(MODEL)
    service_store.refuse_model(MODEL, "There is no architecture 'vit'.")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert f"{MODEL} can't be loaded: There is no architecture 'vit'" in answer.json()["detail"]
    assert client.get("/models").json()[0]["refused"] == "There is no architecture 'vit'."
    service_store.accept_model(MODEL)
    assert client.get("/health/ready").status_code == 200
    assert client.get(f"/models/{MODEL}").json()["refused"] is None


def test_models_are_listed_while_the_broker_is_away(models: Path) -> None:
    nowhere = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0", models=models)
    with TestClient(create_app(nowhere)) as client:
        [card] = client.get("/models").json()
    assert (card["name"], card["votes_per_second"], card["waiting"]) == (MODEL, None, None)


def test_ready_needs_a_worker_for_each_model_that_takes_jobs(
    client: TestClient, worker: StandInWorker
) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert f"no live worker for {MODEL}" in answer.json()["detail"]
    worker.beat(MODEL, loaded=False)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert f"the worker for {MODEL} is loading" in answer.json()["detail"]
    worker.beat(MODEL)
    assert client.get("/health/ready").json() == {"status": "ok"}


def test_metrics_count_by_route_and_show_the_queue(
    client: TestClient, worker: StandInWorker, digit: bytes
) -> None:
    client.post("/certify", files={"image": digit})
    client.get("/jobs/one")
    client.get("/jobs/two")
    worker.beat(MODEL)
    text = client.get("/metrics").text
    assert 'smoothcert_http_requests_total{method="POST",route="/certify",status="202"} 1.0' in text
    assert 'smoothcert_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 2.0' in text
    assert f'smoothcert_queue_jobs{{model="{MODEL}"}} 1.0' in text
    assert f'smoothcert_workers{{model="{MODEL}"}} 1.0' in text


def test_the_page_and_its_files_come_from_here_under_a_strict_policy(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert client.get("/static/js/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/static/samples/digit-7.png").headers["x-content-type-options"] == "nosniff"


def test_the_schema_declares_every_error_as_a_problem(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    certify = schema["paths"]["/certify"]["post"]["responses"]
    assert set(certify) == {"200", "202", "400", "401", "403", "413", "415", "421", "422", "429", "503"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    content = response["content"]["application/problem+json"]
                    assert content["schema"]["$ref"].endswith("/Problem")
                    assert content["example"]["status"] == int(status)
    assert "HTTPValidationError" not in schema["components"]["schemas"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Job, openapi.QUEUED),
        (Job, openapi.SUCCEEDED),
        (Job, openapi.CANCELLED),
        (JobList, openapi.LIST),
        (Certificate, openapi.CERTIFICATE),
        (Batch, openapi.BATCH),
    ],
)
def test_examples_are_what_the_service_could_answer(model: type[BaseModel], example: openapi.Example) -> None:
    assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example
