"""The page's form: models and their samples, the preview, the time it takes, and links to jobs."""

import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from smoothcert.schemas.statement import Statement
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
from tests.acceptance.visit import PATIENCE, Visit
from tests.service.shelf import STATEMENT
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


def test_a_time_limit_is_sent_and_the_answer_says_that_it_ended_the_job(
    visit: Callable[..., Visit], worker: StandInWorker
) -> None:
    task = worker.begin(visit().certify())
    worker.votes.finish(task, certificate(task, 1000, 1.5), progress(1000, 1.5), votes=10_000, seconds=0.5)
    here = visit()
    here.page.click("#ask details:has(#deadline) > summary")
    here.page.get_by_label("Time limit in seconds").fill("2.5")
    limited = re.compile("^2.5\u00a0s for about [0-9 ]+ of 100 000 votes")  # others have changed the speed
    playwright.expect(here.page.locator("#forecast")).to_have_text(limited, timeout=PATIENCE)
    here.page.select_option("#procedure", "certify")
    here.says(
        "#forecast",
        "for 100 000 votes",
    )
    here.page.select_option("#procedure", "anytime")
    task = worker.begin(here.certify())
    assert task.parameters.deadline == 2.5
    left = re.compile("^0 of 100 000 votes, about [123]\u00a0s left at most$")  # without it 5 s
    playwright.expect(here.page.locator("#progress-text")).to_have_text(left, timeout=PATIENCE)
    ended = {"deadline": 2.5, "ended_by": "deadline", "drawn": 1000}
    worker.votes.finish(task, certificate(task, 1000, 1.5).model_copy(update=ended), progress(1000, 1.5))
    here.says(
        "#explanation", "Its deadline of 2.5 s ended it after 1 000 votes; what was proved by then holds"
    )
    here.page.get_by_label("Time limit in seconds").fill("0")
    here.page.get_by_role("button", name="Certify").click()
    here.says('[role="alert"]', "greater than 0")
    assert here.page.get_attribute("#deadline", "aria-invalid") == "true"


def test_the_statement_about_the_chosen_model_is_shown_and_its_file_holds(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    here = visit()
    here.page.click("#statement summary")
    here.says("#statement", "Of 500 test images")
    here.says("#statement", "95\u00a0% confidence")
    stated = Statement.model_validate_json(STATEMENT.read_bytes())
    rows = here.page.locator("#statement tbody tr").all_inner_texts()
    assert [row.split()[:4] for row in rows] == [
        [f"{one.radius:.2f}", str(one.right), "of", str(one.of)] for one in stated.radii
    ]
    for row, one in zip(rows, stated.radii, strict=True):
        assert 0 <= 100 * one.at_least - float(row.split()[4]) < 0.1, "rounded down"
    with here.page.expect_download() as download:
        here.page.get_by_role("link", name="The signed statement").click()
    assert download.value.path().read_bytes() == STATEMENT.read_bytes()
    here.page.set_input_files("#check-certificate", STATEMENT)
    here.page.get_by_role("button", name="Check").click()
    here.says("#checked", "It holds")
    here.page.get_by_role("radio", name="10 kinds of objects").check()
    here.says("#statement", "There is no statement: its log is not complete.")
    here.page.get_by_role("radio", name="mnist-lenet-consistency-1.00").check()
    playwright.expect(here.page.locator("#statement")).to_be_hidden()


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
