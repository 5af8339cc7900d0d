import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, ROOT, Command

BARE = "idx label predict radius correct time\n0 7 7 0.953 1 0:00:00.3\n1 9 -1 0.0 0 0:00:00.3\n"


def test_help_lists_every_command(smoothcert: Command) -> None:
    done = smoothcert("--help")
    assert done.returncode == 0
    assert {"certify", "models", "evaluate", "report", "train", "verify"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        ("smoothcert, smoothcert.cli.main", "torch scipy training httpx2 pydantic_settings"),  # for --help
        ("training.report", "torch"),
    ],
)
def test_help_and_report_load_nothing_heavy(imported: str, heavy: str) -> None:
    script = f"import sys, {imported}; print({set(heavy.split())!r} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "set()"


def test_keys_are_made_where_only_the_service_is_installed(tmp_path: Path) -> None:
    """As in its image: neither `training` nor PyTorch can be imported."""
    script = (
        "import sys; sys.modules |= dict.fromkeys(['training', 'worker', 'torch', 'scipy', 'cryptography']);"
        f"sys.argv[1:] = ['keys', 'create', 'ann', '--file', {str(tmp_path / 'keys.json')!r}];"
        "from smoothcert.cli.main import app; app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("smoothcert_")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["certfy"], "No such command 'certfy'"),
        (["report"], "Missing argument 'LOG...'"),
        (["report", "no.tsv"], "no.tsv can't be read: No such file or directory."),
        (["report", "tests/data/digit-0.png"], "isn't text"),
        (
            ["report", "{log}", "--format", "yaml"],
            "There is no format 'yaml'; there are: markdown, csv, latex, json.",
        ),
        (["report", "{log}", "--radii", "0,x"], "--radii '0,x' is not a list of radii"),
        (["report", "{log}", "--plot", "plot.pdf"], "must end in .png or .svg"),
        (["certify", "no.png"], "no.png can't be read: No such file or directory."),
        (["certify", "tests/data/not-an-image.txt"], "Not an image we take"),
        (
            ["certify", "tests/data/digit-0.png", "--model", "nope"],
            f"There is no model 'nope'; there are: {MODEL}.",
        ),
        (["certify", "tests/data/digit-0.png", "--model", "tests/data"], "has no card.json"),
        (["certify", "tests/data/digit-0.png", "--n", "9"], "the least n is 10"),
        (["certify", "tests/data/digit-0.png", "--alpha", "2"], "--alpha 2.0: Input should be less than 1"),
        (["certify", "tests/data/digit-0.png", "--procedure", "magic"], "--procedure magic"),
        (["certify", "tests/data/digit-0.png", "--url", "localhost"], "write it like http://"),
        (["evaluate", MODEL, "--dataset", "mnst", "--out", "{log}.new"], "There is no data set 'mnst'"),
        (["evaluate", MODEL, "--dataset", "mnist"], "Missing option '--out'"),
    ],
)
def test_an_invalid_request_prints_one_line_and_exits_with_2(
    inside: Command, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    log = tmp_path / "log.tsv"
    log.write_text(BARE)
    done = inside(*(argument.replace("{log}", str(log)) for argument in arguments))
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_service_that_is_not_there_is_a_failure_and_exit_1(inside: Command) -> None:
    done = inside("certify", "tests/data/digit-0.png", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1 does not answer" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_report_prints_one_json_document(inside: Command, tmp_path: Path) -> None:
    log, plot = tmp_path / "log.tsv", tmp_path / "plot.svg"
    log.write_text(BARE)
    done = inside("report", log, "--radii", "0,0.5,0.95", "--format", "json", "--plot", plot)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert record["certified_accuracy"] == {"0": 0.5, "0.5": 0.5, "0.95": 0.5}
    assert plot.read_text().startswith("<?xml")


def test_a_malformed_row_is_named_by_its_line(inside: Command, tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    log.write_text(BARE + "2 3 x 0.5 1 0:00:01\n")
    done = inside("report", log)
    assert done.returncode == 2
    assert f"{log}, line 4: predict is 'x', not a whole number" in done.stderr


def test_models_lists_cards_with_their_names(inside: Command, tmp_path: Path) -> None:
    cards = json.loads(inside("models", "--json").stdout)
    assert [card["name"] for card in cards] == [MODEL]
    assert MODEL in inside("models").stdout
    assert inside("models").stderr == ""
    assert json.loads(inside("models", "--json", SMOOTHCERT_MODELS=str(tmp_path)).stdout) == []
