"""What another site's page can make a browser do, and what a browser can be told about this service."""

import pytest
from fastapi.testclient import TestClient

from service.__main__ import named
from service.app import create_app
from service.settings import Settings
from tests.security.conftest import Open

HERE = "certify.example.org"


@pytest.fixture
def local(open_service: Open, settings: Settings) -> TestClient:
    """A service as `python -m service` starts it without keys."""
    return open_service(hosts=named(settings).hosts)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "a.b", "[", "x.y."]
)
def test_a_name_that_was_rebound_to_loopback_is_refused(local: TestClient, host: str) -> None:
    for path in ("/", "/jobs", "/models", "/metrics"):
        answer = local.get(path, headers={"Host": host})
        assert answer.status_code == 421, path
        assert answer.json()["type"] == "urn:smoothcert:problem:wrong-host"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "10.1.2.3",
        "service:8000",
        "a.localhost",
    ],
)
def test_what_cannot_be_rebound_is_answered(local: TestClient, host: str) -> None:
    assert local.get("/health/live", headers={"Host": host}).status_code == 200


def test_an_operators_names_are_answered_and_with_keys_any_name_is(
    open_service: Open, settings: Settings
) -> None:
    client = open_service(hosts=(HERE,))
    assert client.get("/health/live", headers={"Host": HERE.upper()}).status_code == 200
    assert client.get("/health/live", headers={"Host": "evil.example"}).status_code == 421
    assert named(settings.model_copy(update={"api_keys": settings.models})).hosts == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "testserver"},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},  # no proxy of ours
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-Requested-With": "SmoothCert"},
    ],
)
@pytest.mark.parametrize("path", ["/certify", "/batches", "/jobs/some/cancel"])
def test_another_sites_page_can_ask_for_nothing(
    client: TestClient, digit: bytes, path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, files={"image": digit}, headers=headers)
    assert answer.status_code == 403
    assert client.get("/jobs").json()["jobs"] == []


BEHIND_PROXIES = {
    "as nginx does by itself": {"Host": "127.0.0.1:8000", "Origin": "http://10.1.2.3:8080"},
    "without its port": {"Host": "10.1.2.3", "Origin": "http://10.1.2.3:8080"},
    "by TLS": {"Host": "certify.internal", "Origin": "https://certify.example.org"},
}


@pytest.mark.parametrize("what", BEHIND_PROXIES)
def test_our_own_page_can_ask_whatever_a_proxy_makes_of_its_host(
    client: TestClient, digit: bytes, what: str
) -> None:
    headers = BEHIND_PROXIES[what]
    answers = [
        client.post("/certify", files={"image": digit}, headers=headers | more).status_code
        for more in ({}, {"X-Requested-With": "SmoothCert"})
    ]
    assert answers == [403, 202]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org:443", "Origin": "https://example.org"},
        {"Host": "Example.org", "Origin": "http://example.org:80"},
        {"Host": "example.org:8080", "Origin": "http://example.org:8080"},
        {"Host": "10.1.2.3", "X-Forwarded-Host": "example.org", "Origin": "https://example.org"},
    ],
)
def test_a_correct_host_header_is_accepted(settings: Settings, digit: bytes, headers: dict[str, str]) -> None:
    with TestClient(create_app(settings), client=("127.0.0.1", 1)) as client:
        assert client.post("/certify", files={"image": digit}, headers=headers).status_code == 202
        evil = {"Origin": "https://evil.example"}
        assert client.post("/certify", files={"image": digit}, headers=headers | evil).status_code == 403


THEIRS = "https://www.example.org"


def test_pages_of_other_sites_that_are_listed_can_ask_and_read(open_service: Open, digit: bytes) -> None:
    client = open_service(origins=(THEIRS,))
    asked = {
        "Origin": THEIRS,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key",
    }
    allowed = client.options("/certify", headers=asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == THEIRS
    theirs = {"Origin": THEIRS, "Sec-Fetch-Site": "cross-site"}
    answer = client.post("/certify", files={"image": digit}, headers=theirs)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == THEIRS
    assert "Location" in answer.headers["access-control-expose-headers"]
    assert client.get("/jobs/nobody", headers=theirs).headers["access-control-allow-origin"] == THEIRS
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", f"{THEIRS}.evil.example", "null", f"{THEIRS}:81"])
def test_no_other_site_can_once_some_are_listed(open_service: Open, digit: bytes, origin: str) -> None:
    client = open_service(origins=(THEIRS,))
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked |= {"Access-Control-Request-Headers": "x-requested-with"}
    for answer in (
        client.options("/certify", headers=asked),
        client.get("/jobs", headers={"Origin": origin}),
        client.post("/certify", files={"image": digit}, headers={"Origin": origin}),
    ):
        assert answer.headers.get("access-control-allow-origin") is None
    assert answer.status_code == 403


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://testserver"}, {}])
def test_our_own_page_and_programs_can(client: TestClient, digit: bytes, headers: dict[str, str]) -> None:
    assert client.post("/certify", files={"image": digit}, headers=headers).status_code == 202


def test_no_answer_is_open_to_scripts_of_other_origins(client: TestClient) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in (
        ("OPTIONS", "/certify"),
        ("GET", "/jobs"),
        ("GET", "/models"),
        ("GET", "/keys/signing"),
    ):
        answer = client.request(method, path, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/docs", "/jobs", "/nowhere", "/static/page.css"])
def test_no_answer_can_be_framed_or_guessed_to_be_a_script(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/jobs/", "/models/", "/health/live/", "/static"])
def test_no_redirect_repeats_a_forged_host(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_forwarded_headers_change_nothing(client: TestClient, digit: bytes) -> None:
    lies = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example",
        "X-Original-URL": "/metrics",
        "X-HTTP-Method-Override": "DELETE",
    }
    answer = client.post("/certify", files={"image": digit}, headers=lies)
    assert answer.headers["location"] == answer.json()["links"]["self"]
    assert answer.headers["location"].startswith("/jobs/")
    assert "evil" not in str(answer.headers) + answer.text
