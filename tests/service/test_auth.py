"""API keys: who may call, whose jobs they see, how much each may ask."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.__main__ import check_host
from service.app import create_app
from service.settings import Settings
from smoothcert.schemas.api_keys import Keyring, draw

DATA = Path(__file__).parents[1] / "data"
ANN, BOB, ANN_AGAIN = draw("ann"), draw("bob", open_jobs=2, per_minute=3), draw("ann")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    Keyring(keys=(ANN.record, BOB.record, ANN_AGAIN.record)).write(path)
    return path


@pytest.fixture
def client(settings: Settings, keys: Path) -> Iterator[TestClient]:
    """A service that wants keys."""
    with TestClient(create_app(settings.model_copy(update={"api_keys": keys}))) as client:
        yield client


def submit(client: TestClient, key: str, path: str = "/certify", images: int = 1) -> object:
    files = [("image", (DATA / "digit-7.png").read_bytes())] * images
    return client.post(path, files=files, data={"n": 1000}, headers=bearer(key))


def test_secrets_are_nowhere_in_the_file(keys: Path) -> None:
    assert ANN.text.split("_", 2)[2] not in keys.read_text()
    assert ANN.record.sha256 in keys.read_text()


@pytest.mark.parametrize(
    "sent",
    [
        {},
        bearer(""),
        bearer("x"),
        bearer(draw("ann").text),
        bearer(ANN.text[:-1] + "~"),
        {"Authorization": ANN.text},
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/some/events", "/batches/some"])
def test_without_a_key_of_ours_the_answer_is_401(client: TestClient, path: str, sent: dict[str, str]) -> None:
    answer = client.get(path, headers=sent)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic"), "Chromium asks for the first one only"
    assert "Bearer" in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_has_no_key_is_refused_before_the_image_is_read(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50:
            sent += 1
            yield bytes(100_000)

    answer = client.post("/certify", content=endless())
    assert (answer.status_code, sent) == (401, 0)


def test_what_everybody_may_see_needs_no_key(client: TestClient) -> None:
    for path in ("/", "/models", "/health/live", "/metrics", "/openapi.json", "/static/page.css"):
        assert client.get(path).status_code == 200


def test_jobs_and_batches_belong_to_the_owner_of_the_key(client: TestClient) -> None:
    job = submit(client, ANN.text).json()
    batch = submit(client, ANN.text, "/batches").json()
    places = [*job["links"].values(), batch["links"]["self"]]
    for place in places:
        method = "POST" if place.endswith("cancel") else "GET"
        foreign = client.request(method, place, headers=bearer(BOB.text))
        assert foreign.status_code == 404, place
    assert client.get("/jobs", headers=bearer(BOB.text)).json()["jobs"] == []
    mine = client.get("/jobs", headers=bearer(ANN_AGAIN.text)).json()["jobs"]
    assert [one["id"] for one in mine] == [batch["jobs"][0]["id"], job["id"]]
    assert mine[1]["status"] == "queued", "a stranger must not have cancelled it"


def test_a_revoked_key_is_refused_at_once_and_a_damaged_file_admits_no_caller(
    client: TestClient, keys: Path
) -> None:
    assert client.get("/jobs", headers=bearer(ANN.text)).status_code == 200
    Keyring.read(keys).without(ANN.record.id).write(keys)
    assert client.get("/jobs", headers=bearer(ANN.text)).status_code == 401
    assert client.get("/jobs", headers=bearer(ANN_AGAIN.text)).status_code == 200
    keys.write_text("{")
    assert client.get("/jobs", headers=bearer(ANN_AGAIN.text)).status_code == 503
    keys.unlink()
    assert client.get("/jobs", headers=bearer(ANN_AGAIN.text)).status_code == 401


def test_submissions_over_the_rate_are_429_with_a_time_to_come_back(client: TestClient) -> None:
    answers = [submit(client, BOB.text) for _ in range(2)]
    assert [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers] == [
        '"submissions";r=2',
        '"submissions";r=1',
    ]
    assert answers[0].headers["ratelimit-policy"] == '"submissions";q=3;w=60'
    assert submit(client, BOB.text).status_code == 429, "two jobs are open, no more are allowed"
    over = submit(client, BOB.text)
    assert (over.status_code, over.json()["type"]) == (429, "urn:smoothcert:problem:quota")
    assert over.headers["ratelimit"].startswith('"submissions";r=0;t=')
    assert 1 <= int(over.headers["retry-after"]) <= 20
    assert client.get("/jobs", headers=bearer(BOB.text)).status_code == 200
    assert submit(client, ANN.text).status_code == 202


def test_jobs_in_flight_over_the_quota_are_429_until_one_has_ended(client: TestClient) -> None:
    assert submit(client, BOB.text, "/batches", images=3).status_code == 429
    first = submit(client, BOB.text, "/batches", images=2)
    assert first.status_code == 202
    refused = submit(client, BOB.text)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


def test_browsers_send_the_key_as_a_password_but_not_for_another_site(client: TestClient) -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{ANN.text}".encode()).decode()}
    assert client.get("/jobs", headers=basic).status_code == 200
    assert client.get("/jobs", headers=basic | {"Sec-Fetch-Site": "same-origin"}).status_code == 200
    image = {"image": io.BytesIO((DATA / "digit-7.png").read_bytes())}
    forged = client.post("/certify", files=image, headers=basic | {"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403
    read = client.get("/jobs", headers=basic | {"Sec-Fetch-Site": "cross-site"})
    assert read.status_code == 401
    assert client.get("/jobs", headers={"Authorization": "Basic ~"}).status_code == 401


def test_without_keys_only_loopback_is_served_unless_anonymous_callers_are_allowed(
    settings: Settings, keys: Path
) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        check_host(host, settings)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(SystemExit, match="SMOOTHCERT_API_KEYS"):
            check_host(host, settings)
        check_host(host, settings.model_copy(update={"allow_anonymous": True}))
        check_host(host, settings.model_copy(update={"api_keys": keys}))
