"""Below a path prefix all that the service says of its own places leads below it."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.app import create_app
from service.settings import Settings
from smoothcert.client import Client
from tests.service.worker import StandInWorker

Open = Callable[..., TestClient]
DIGIT = (Path(__file__).parents[1] / "data" / "digit-7.png").read_bytes()
TOLD = {"X-Forwarded-Prefix": "/certify/v1"}


@pytest.fixture
def open_below(settings: Settings) -> Iterator[Open]:
    """A service; `caller`: the address that calls it."""
    with ExitStack() as stack:

        def started(caller: str = "127.0.0.1", **changed: object) -> TestClient:
            app = create_app(Settings.model_validate(settings.model_dump() | changed))
            return stack.enter_context(TestClient(app, client=(caller, 1), follow_redirects=False))

        yield started


def whole_visit(client: TestClient, worker: StandInWorker, cut: str, prefix: str, **headers: str) -> None:
    """From the page to the certificate. `cut`: what stands before our paths when they reach us."""

    def follow(link: str) -> str:
        assert link.startswith(f"{prefix}/")
        return cut + link.removeprefix(prefix)

    client.headers.update(headers)
    page = client.get(f"{cut}/").text
    files = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert len(files) >= 4
    for file in files:
        assert not file.startswith("/")
        assert client.get(f"{cut}/{file}").status_code == 200, file
    assert f"url: '{prefix}/openapi.json'" in client.get(f"{cut}/docs").text
    assert client.get(f"{cut}/openapi.json").json()["servers"][0]["url"] == prefix
    answer = client.post(f"{cut}/certify", files={"image": DIGIT}, data={"n": 1000})
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"{prefix}/jobs/{job['id']}"
    for name in ("self", "input"):
        assert client.get(follow(job["links"][name])).status_code == 200
    worker.finish(worker.begin(job["id"]))
    events = client.get(follow(job["links"]["events"])).text
    assert f'"certificate":"{prefix}/jobs/' in events
    assert client.get(follow(job["links"]["certificate"])).status_code == 200
    assert client.post(follow(job["links"]["cancel"])).json()["links"] == job["links"]
    client.post(f"{cut}/certify", files={"image": DIGIT})
    more = client.get(f"{cut}/jobs?limit=1").json()
    assert client.get(follow(more["next"])).json()["jobs"][0]["links"] == job["links"]
    batch = client.post(f"{cut}/batches", files={"image": DIGIT})
    assert batch.headers["location"] == batch.json()["links"]["self"]
    again = client.get(follow(batch.json()["links"]["self"])).json()
    assert again["jobs"][0]["links"]["self"].startswith(f"{prefix}/jobs/")


@pytest.mark.parametrize("prefix", ["/certify", "/certify/v1", "/p"])  # the first is a path of ours too
@pytest.mark.parametrize("cut_off", [True, False])
def test_a_prefix_that_is_set_is_in_front_of_every_link(
    open_below: Open, worker: StandInWorker, prefix: str, cut_off: bool
) -> None:
    whole_visit(open_below(root_path=f"{prefix}/"), worker, "" if cut_off else prefix, prefix)


@pytest.mark.parametrize("root_path", ["", "/another"])
@pytest.mark.parametrize("prefix", ["/certify", "/certify/v1", "/jobs", "/static"])
def test_a_prefix_that_a_trusted_proxy_tells_is_in_front_of_every_link(
    open_below: Open, worker: StandInWorker, prefix: str, root_path: str
) -> None:
    whole_visit(open_below(root_path=root_path), worker, "", prefix, **{"X-Forwarded-Prefix": f"{prefix}/"})


def test_the_prefix_alone_leads_to_the_page(open_below: Open) -> None:
    answer = open_below(root_path="/certify/v1").get("/certify/v1")
    assert (answer.status_code, answer.headers["location"]) == (307, "/certify/v1/")


def test_keys_limits_and_policies_hold_below_a_prefix(open_below: Open, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    client = open_below(root_path="/p", api_keys=keys, max_upload_bytes=10)
    for path in ("/p/jobs", "/jobs"):
        assert client.get(path).status_code == 401
    assert client.post("/p/certify", files={"image": DIGIT}).status_code == 401
    assert "unsafe-inline" in client.get("/p/docs").headers["content-security-policy"]
    assert "unsafe-inline" not in client.get("/p/").headers["content-security-policy"]
    small = open_below(root_path="/p", max_upload_bytes=10)
    assert small.post("/p/certify", files={"image": bytes(10**5)}).status_code == 413
    assert small.post("/p/batches", files={"image": bytes(10**5)}).status_code == 415


@pytest.mark.parametrize("caller", ["10.1.2.3", "testclient", "::2"])
def test_a_prefix_header_of_an_untrusted_client_is_ignored(open_below: Open, caller: str) -> None:
    client = open_below(caller)
    assert client.post("/certify", files={"image": DIGIT}, headers=TOLD).headers["location"][:6] == "/jobs/"


def test_an_operator_says_which_proxies_are_believed(open_below: Open) -> None:
    client = open_below("10.1.2.3", proxies=("10.0.0.0/8",))
    answer = client.post("/certify", files={"image": DIGIT}, headers=TOLD)
    assert answer.headers["location"].startswith("/certify/v1/jobs/")
    silent = open_below("127.0.0.1", proxies=())
    assert silent.post("/certify", files={"image": DIGIT}, headers=TOLD).headers["location"][:6] == "/jobs/"


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "https://evil.example", "/..", "/a/../b", "/a b", "/a\r\nX: 1", "a", "/é", "/a?b"],
)
def test_what_is_no_path_is_no_prefix(open_below: Open, settings: Settings, prefix: str) -> None:
    client = open_below()
    sent = {"X-Forwarded-Prefix": prefix.encode().replace(b"\r\n", b"")}
    answer = client.post("/certify", files={"image": DIGIT}, headers=sent)
    assert answer.headers["location"].startswith("/jobs/")
    with pytest.raises(ValidationError):
        Settings.model_validate(settings.model_dump() | {"root_path": prefix})


@pytest.mark.parametrize(
    "wrong", [{"proxies": ["proxy.example"]}, {"origins": ["*"]}, {"origins": ["a.example"]}]
)
def test_other_wrong_settings_stop_the_start(settings: Settings, wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings.model_dump() | wrong)


def test_the_command_line_follows_links_below_a_prefix(open_below: Open, worker: StandInWorker) -> None:
    service = open_below(root_path="/p")
    with Client("http://testserver/p") as client:
        client._http = service  # the same calls, without a socket
        service.base_url = "http://testserver/p/"
        job = client.submit_file("image", DIGIT, {"n": "1000"})
        worker.finish(worker.begin(job.id))
        assert [snapshot.status for snapshot in client.follow(job)][-1] == "succeeded"
