"""The page's form: models and their samples, the preview, the time it takes, and links to jobs."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.acceptance.test_browser import (
    DATA,
    OBJECTS,
    broker,
    chromium,
    playwright,
    pytestmark,
    site,
    visit,
    worker,
)
from tests.acceptance.visit import Visit
from tests.service.worker import StandInWorker, certificate, progress

__all__ = ["broker", "chromium", "pytestmark", "site", "visit", "worker"]  # of the page's other tests


def test_models_are_named_by_what_they_know_and_bring_samples_of_their_kind(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    here = visit()
    here.says("#models", "Digits 0–9, σ\u00a0=\u00a00.5")
    here.says("#models", "10 kinds of objects")
    here.says("#models", "airplane, automobile, bird")
    assert here.page.locator("#samples input").count() == 12
    here.page.get_by_role("radio", name="10 kinds of objects").check()
    assert here.page.locator("#samples input").count() == 10
    task = worker.begin(here.certify())
    assert task.model == OBJECTS
    here.says("#history", "A small picture: cat")
    worker.finish(task)
    here.until("succeeded")


def test_a_photo_for_a_grey_digit_model_is_shown_as_the_model_sees_it_with_a_warning(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").convert("RGB").point(lambda v: v // 2).resize((800, 600)).save(photo)
    red = tmp_path / "red.png"
    Image.new("RGB", (28, 28), "red").save(red)
    here = visit()
    playwright.expect(here.page.locator("#preview")).to_be_hidden()
    here.page.set_input_files("#file", DATA / "digit-7.png")
    here.says("#preview", "28\u00a0×\u00a028 grey")
    assert here.page.locator("#preview .warning").count() == 0
    here.page.set_input_files("#file", photo)
    here.says("#preview .warning", "800 × 600")
    here.page.set_input_files("#file", red)
    here.says("#preview .warning", "a colour picture of 28 × 28; the model sees 28\u00a0×\u00a028 grey")
    seen = (
        "() => [...document.querySelector('#preview canvas').getContext('2d').getImageData(5, 5, 1, 1).data]"
    )
    assert here.page.evaluate(seen) == [76, 76, 76, 255]  # red as Pillow's mode L has it
    here.page.get_by_role("radio", name="10 kinds of objects").check()
    here.says("#preview", "32\u00a0×\u00a032 colour")
    assert here.page.locator("#preview .warning").count() == 0
    assert here.page.evaluate(seen) == [255, 0, 0, 255]
    assert here.overflow() <= 0


def test_the_time_left_is_shown_before_and_during_a_job(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    task = worker.begin(visit().certify())
    proved = certificate(task, 1000, 1.5)
    worker.votes.finish(task, proved, progress(1000, 1.5), votes=10_000, seconds=0.5)
    here = visit()
    here.says("#forecast", "for 100 000 votes (20 000 a second here)")
    here.page.click("summary >> nth=0")
    here.page.fill("#n", "10000000")
    here.says("#forecast", "about 9\u00a0min for 10 000 000 votes")
    here.page.fill("#n", "1000")
    task = worker.begin(here.certify())
    worker.report(task, 250, 0.5)
    here.says("#progress-text", "left at most")
    worker.finish(task)
    here.until("succeeded")


def test_a_link_to_a_job_opens_it_elsewhere(visit: Callable[..., Visit], worker: StandInWorker) -> None:
    here = visit()
    worker.finish(worker.begin(here.certify()))
    here.until("succeeded")
    link = here.page.get_by_role("link", name="Link to this job").get_attribute("href")
    here.page.get_by_role("link", name="Link to this job").click()
    here.page.wait_for_function("() => document.getElementById(`shared`).textContent")
    there = visit()
    there.page.goto(link)
    there.until("succeeded")
    there.says("#verdict", "1.500")
