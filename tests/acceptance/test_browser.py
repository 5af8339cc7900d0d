"""The page in a real browser, over a real service and store; a stand-in worker decides when votes come in."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python import sync_playwright as axe
from playwright import sync_api as playwright

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import Broker, free_port
from smoothcert.images.decode import read_image
from smoothcert.jobs.tasks import Task
from smoothcert.schemas.certificate import PublicKeys
from smoothcert.schemas.job import Forecast, Progress
from smoothcert.signing import Signer
from tests.acceptance.visit import Server, Visit
from tests.service.shelf import MODEL, STATEMENT, measured, write_model
from tests.service.worker import StandInWorker, certificate
from tests.support.cards import card_with
from tests.support.issuing import certificate_for
from tests.worker.plant import eventually

OBJECTS = "objects"
SIGNER = Signer.draw()
DATA = Path(__file__).parents[1] / "data"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH"),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker.start(tmp_path_factory.mktemp("valkey"), "--appendfsync", "no") as broker:
        yield broker


@pytest.fixture(scope="module")
def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = tmp_path_factory.mktemp("models")
    write_model(models, MODEL, 0.5, evaluation=measured(0.5), statement=STATEMENT)
    write_model(models, "mnist-lenet-consistency-1.00", 1.0, evaluation=measured(1.0))
    objects = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    why = "its log is not complete."
    write_model(models, OBJECTS, dataset="cifar10", input_shape=(3, 32, 32), labels=objects, no_statement=why)
    port = free_port()
    keys = tmp_path_factory.mktemp("keys") / "signing-keys.json"
    keys.write_text(PublicKeys(keys=(SIGNER.public,)).model_dump_json())
    app = create_app(Settings(redis_url=broker.url, models=models, signing_keys=keys))
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    with Server(config):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def worker(broker: Broker) -> StandInWorker:
    return StandInWorker(broker.url)


@pytest.fixture(scope="module")
def chromium() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: "playwright.Browser", site: str) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def open_page(**options: object) -> Visit:
        visits.append(Visit(chromium, site, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.page.context.close()
        assert one.strangers == []


def abstain(worker: StandInWorker, task: Task) -> None:
    counts = [600, 400] + [0] * 8
    nothing = {
        "outcome": "abstained",
        "predicted_class": None,
        "label": None,
        "radius": 0.0,
        "counts": counts,
    }
    unsure = certificate(task, 1000, 0.0).model_copy(update=nothing)
    worker.votes.finish(task, unsure, Progress(samples=1000, of=1000, radius=None, counts=counts))


def test_a_sample_becomes_a_certificate_and_its_radius_is_seen_to_grow(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    task = worker.begin(here.certify())
    worker.report(task, 250, 0.5)
    here.says("#verdict", "0.500")
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    assert "250" not in here.text("#progress-text")
    worker.finish(task, 1.5)
    here.until("succeeded")
    assert here.text("#verdict").split() == ["class", "7", "certified", "radius", "1.500"]
    here.says("#explanation", "at least 99.9\u00a0%")
    here.says("#announce", "certified radius 1.500")
    assert here.page.locator("#votes li").count() == 10
    playwright.expect(here.page.locator("#pictures img, #pictures canvas")).to_have_count(3)
    playwright.expect(here.page.locator("#growth svg")).to_be_visible()
    with here.page.expect_download() as download:
        here.page.get_by_role("link", name="Download the certificate").click()
    assert json.loads(download.value.path().read_text())["radius"] == 1.5


def test_a_certificate_is_checked_with_its_picture(visit: Callable[..., Visit], tmp_path: Path) -> None:
    picture = DATA / "digit-7.png"
    digest = read_image(picture.read_bytes(), card_with()).digest
    genuine = certificate_for({}).model_copy(update={"input": digest})
    (tmp_path / "genuine.json").write_text(genuine.model_dump_json())
    signed = SIGNER.sign(genuine.model_copy(update={"asked_before": 2}))
    (tmp_path / "signed.json").write_text(signed.model_dump_json())
    edited = genuine.model_copy(update={"radius": 1.9})
    (tmp_path / "edited.json").write_text(edited.model_dump_json())
    here = visit()
    check = here.page.get_by_role("button", name="Check")
    check.click()
    here.says("#checked", "Choose a certificate first")
    here.page.set_input_files("#check-certificate", tmp_path / "genuine.json")
    check.click()
    here.says("#checked", "It was not compared with a picture")
    here.says("#checked", "No signature was checked: the document has no signature")
    here.page.set_input_files("#check-image", picture)
    check.click()
    here.says("#checked", "It holds")
    here.says("#checked", "The pixels are those of the picture")
    here.page.set_input_files("#check-certificate", tmp_path / "signed.json")
    check.click()
    here.says("#checked", f"This service signed it, with its key {SIGNER.public.kid}")
    here.says("#checked", "any is wrong with probability at most 0.003")
    here.page.set_input_files("#check-image", DATA / "digit-3.png")
    check.click()
    here.says("#checked", "Refused: input")
    here.page.set_input_files("#check-certificate", tmp_path / "edited.json")
    check.click()
    here.says("#checked", "Refused: radius")


def test_what_to_expect_is_shown_until_it_is_proved(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    task = worker.begin(here.certify())
    playwright.expect(here.page.locator("#expected")).to_be_hidden()
    worker.report(task, 250, 0.5, Forecast(radius=1.204, votes=100_000, seconds=6.1))
    here.says(
        "#expected", "Expected, not proved: about radius 1.20 with 100 000 votes, about 7\u00a0s in all"
    )
    worker.report(task, 500, 0.5, Forecast(radius=0.0, votes=1000, seconds=0.1))
    here.says("#expected", "an abstention with 1 000 votes")
    worker.finish(task)
    here.until("succeeded")
    playwright.expect(here.page.locator("#expected")).to_be_hidden()


def test_asking_again_raises_the_stated_chance_of_error(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    here.page.get_by_role("radio", name="A handwritten 2").check()
    worker.finish(worker.begin(here.certify()))
    here.until("succeeded")
    assert "asked" not in here.text("#explanation")
    for said in ("once before", "2 times before"):
        worker.finish(worker.begin(here.certify()))
        here.says("#explanation", f"The service was asked {said} about these pixels with this model")
    here.says("#explanation", "any of these 3 answers is wrong with probability at most 0.003")
    here.page.click("#evidence summary")
    here.says("#figures", "2 times, these pixels with this model")


def test_a_file_that_is_no_image_is_refused_with_a_reason(visit: Callable[..., Visit]) -> None:
    here = visit()
    here.page.set_input_files("#file", DATA / "not-an-image.txt")
    here.page.get_by_role("button", name="Certify").click()
    here.says('[role="alert"]', "PNG, JPEG")


def test_an_error_message_stays_while_another_job_runs(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    task = worker.begin(here.certify())
    here.page.set_input_files("#file", DATA / "not-an-image.txt")
    here.page.get_by_role("button", name="Certify").click()
    here.says('[role="alert"]', "PNG, JPEG")
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    here.says('[role="alert"]', "PNG, JPEG")
    worker.finish(task)


def test_an_uploaded_picture_is_certified(visit: Callable[..., Visit], worker: StandInWorker) -> None:
    here = visit()
    here.page.set_input_files("#file", DATA / "digit-0-cmyk.jpg")
    worker.finish(worker.begin(here.certify()))
    here.until("succeeded")
    here.says("#history", "digit-0-cmyk.jpg")


def test_too_few_votes_are_explained_beside_the_field(visit: Callable[..., Visit]) -> None:
    here = visit()
    here.page.click("summary >> nth=0")
    here.page.fill("#n", "9")
    here.page.get_by_role("button", name="Certify").click()
    here.says('[role="alert"]', "least n is 10")
    assert here.page.get_attribute("#n", "aria-invalid") == "true"


def test_an_abstention_is_explained(visit: Callable[..., Visit], worker: StandInWorker) -> None:
    here = visit()
    abstain(worker, worker.begin(here.certify()))
    here.says("#verdict", "abstained")
    here.says("#explanation", "60.0")
    here.says("#explanation", "not a failure")


def test_a_job_that_is_stopped_keeps_what_it_has_proved(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    worker.report(worker.begin(here.certify()), 500, 0.75)
    here.says("#verdict", "0.750")
    here.page.get_by_role("button", name="Stop here").click()
    here.says("#explanation", "Stopped after 500 votes")
    here.says("#verdict", "certified radius")


def test_a_reload_in_the_middle_comes_back_to_the_job(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    task = worker.begin(here.certify())
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    here.page.reload()
    here.says("#verdict", "0.750")
    worker.finish(task)
    here.until("succeeded")
    here.says("#history", "7, radius 1.500")


def test_polling_takes_over_where_the_stream_is_blocked(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    here.page.route("**/events", lambda route: route.abort())
    task = worker.begin(here.certify())
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    worker.finish(task)
    here.until("succeeded")


def test_a_broker_that_does_not_answer_is_reported_and_work_continues_when_it_returns(
    visit: Callable[..., Visit], worker: StandInWorker, broker: Broker
) -> None:
    here = visit()
    broker.process.send_signal(signal.SIGSTOP)
    try:
        here.page.get_by_role("button", name="Certify").click()
        here.says('[role="alert"]', "does not answer")
    finally:
        broker.process.send_signal(signal.SIGCONT)
    eventually(lambda: here.page.request.get("/jobs").ok)  # left alone for a second after its silence
    worker.finish(worker.begin(here.certify()))  # the only job, though the broker took both submissions
    here.until("succeeded")
    assert "queued" not in {job["status"] for job in here.page.request.get("/jobs").json()["jobs"]}
    playwright.expect(here.page.get_by_role("alert")).to_be_hidden()


def test_everything_can_be_done_by_keyboard(visit: Callable[..., Visit], worker: StandInWorker) -> None:
    here = visit()
    press = here.page.keyboard.press
    for key in ("Tab", "Tab", "Tab", "ArrowRight", "Tab", "Tab", "ArrowDown", "Tab", "Tab"):
        press(key)
    assert here.page.evaluate("document.activeElement.id") == "go"
    press("Enter")
    here.page.wait_for_function("() => location.hash !== ''")
    job_id = here.page.evaluate("location.hash.slice(1)")
    task = worker.begin(job_id)
    assert task.model == "mnist-lenet-consistency-1.00"
    worker.finish(task)
    here.until("succeeded")
    here.says("#history", "A handwritten 8")


def test_on_a_narrow_screen_nothing_is_cut_off(visit: Callable[..., Visit], worker: StandInWorker) -> None:
    here = visit(viewport={"width": 320, "height": 640})
    assert here.overflow() <= 0
    worker.finish(worker.begin(here.certify()))
    here.until("succeeded")
    playwright.expect(here.page.locator("#verdict")).to_be_in_viewport()
    here.page.click("#evidence summary")
    assert here.overflow() <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_check_finds_nothing(
    visit: Callable[..., Visit], worker: StandInWorker, scheme: str
) -> None:
    here = visit(color_scheme=scheme, bypass_csp=True)
    assert axe.Axe().run(here.page).response["violations"] == []
    task = worker.begin(here.certify())
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    assert axe.Axe().run(here.page).response["violations"] == []
    worker.finish(task)
    here.until("succeeded")
    here.page.click("#evidence summary")
    assert axe.Axe().run(here.page).response["violations"] == []


def test_a_radius_is_never_shown_larger_than_it_is(visit: Callable[..., Visit]) -> None:
    here = visit()
    radii = [0.11699999999999999, 0.117, 0.11799999, 1.9996]  # the first one's product with 1000 is 117
    script = "async radii => { const m = await import('/static/js/dom.js'); return radii.map(m.radiusText); }"
    assert here.page.evaluate(script, radii) == ["0.116", "0.117", "0.117", "1.999"]


def test_the_calls_are_described_without_asking_anybody_else(visit: Callable[..., Visit]) -> None:
    here = visit()
    here.page.goto("/docs")
    here.page.wait_for_selector(".opblock-summary")
    assert "/jobs/{job_id}/events" in here.text("body")
