import pytest

from service.openapi import CERTIFICATE
from smoothcert.cli.output import describe, so_far
from smoothcert.progress import WINDOW, Lines, StepTimer, duration, progress_bar
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Forecast, Progress


def test_a_line_says_what_is_done_and_how_long_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("steps", every=0)
    lines(40, 100, "epoch 5 of 10")  # a resumed run: nothing is known of its speed yet
    lines(70, 100, "epoch 8 of 10")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "steps: 40 of 100, time left unknown, epoch 5 of 10"
    assert second == "steps: 70 of 100, time left 0 s, epoch 8 of 10"


def test_lines_are_few_and_milestones_come_sooner(capsys: pytest.CaptureFixture[str]) -> None:
    seldom, milestones = Lines("seldom", every=3600, soon=3600), Lines("milestones", every=3600, soon=0)
    for done in range(1, 1001):
        seldom(done, 1000, "")
        milestones(done, 1000, "", milestone=done % 500 == 0)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in said] == [
        "milestones: 500 of 1000",
        "milestones: 1000 of 1000",
    ]


def test_a_short_command_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (True, False):
        with progress_bar("images", shown=shown) as update:
            update(1, 2, "image 0")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def said_at(*steps: float) -> list[str]:
    """What is said of a run whose steps take so many seconds, window after window."""
    pace, now, said = StepTimer(), 0.0, list[str]()
    for seconds in steps:
        end = now + WINDOW
        while now < end:
            now += seconds
            text = pace.step(now)
            said += [text] if text else []
    return said


def test_steps_that_become_much_slower_are_reported_once_each_time() -> None:
    (text,) = said_at(0.5, 0.5, 0.6, 3.0, 3.0, 3.0)
    assert text.startswith("a step takes ")
    assert "other programs take the processors" in text
    assert len(said_at(0.5, 0.5, 3.0, 3.0, 0.5, 0.5, 3.0, 3.0)) == 2
    assert said_at(0.5, 0.9, 0.5, 0.4) == []
    assert said_at(3.0, 3.0, 0.5) == []


def test_what_is_expected_is_told_apart_from_what_is_proved() -> None:
    expected = Forecast(radius=1.5, votes=100_000, seconds=6.0)
    told = so_far(Progress(samples=1, of=2, radius=0.99996, forecast=expected))
    assert told == "radius 0.9999 so far; forecast: about radius 1.50 with 100 000 votes, 6 s"


@pytest.mark.parametrize(("asked_before", "told"), [(None, ""), (0, ""), (2, "any of these 3 answers")])
def test_an_answer_says_that_the_same_was_asked_before(asked_before: int | None, told: str) -> None:
    said = describe(Certificate.model_validate(CERTIFICATE | {"asked_before": asked_before}))
    assert told in said
    assert ("asked" in said) == bool(told)


def test_no_printed_figure_claims_more_than_was_proved() -> None:
    assert so_far(Progress(samples=1, of=2, radius=0.99996)) == "radius 0.9999 so far"
    claims = {"radius": 1.23456789, "target_radius": 1.2345678, "target_met": True, "alpha": 0.0010000004}
    said = describe(Certificate.model_validate(CERTIFICATE | claims))
    assert "radius 1.2345 " in said
    assert "target radius 1.2345678: proved" in said
    assert "at most 0.0010000004 " in said
