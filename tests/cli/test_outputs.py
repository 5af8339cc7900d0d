"""`--out` and its like, for every command that writes: tried before the work, written where it leads to."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from smoothcert.schemas.api_keys import Keyring
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.evaluation_log import average_certified_radius, read_log
from tests.cli.conftest import DATA, MODEL, SETUP, Command

DIGIT = DATA / "digit-3.png"
MNIST = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny")
FEW = ("--n", "100", "--limit", "2", "--engine", SETUP)
WRITERS = {
    "certify": ("certify", DIGIT, "--n", "300", "--engine", SETUP, "--out"),
    "evaluate": ("evaluate", MODEL, *MNIST, *FEW, "--out"),
    "attack": ("attack", MODEL, *MNIST, *FEW, "--restarts", "1", "--steps", "1", "--noises", "1", "--out"),
    "train": ("train", "gaussian", *MNIST, "--sigma", "0.5", "--epochs", "1", "--out"),
    "report": ("report", "LOG", "--plot"),
    "keys create": ("keys", "create", "ann", "--file"),
    "keys signing": ("keys", "signing", "--out"),
    "reproduce": ("reproduce", "figure3", "--data-root", DATA / "mnist-tiny", "--out"),
}
FOLDERS = {"train", "keys signing", "reproduce"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.tsv"
    path.write_text("idx label predict radius correct time\n0 7 7 0.953 1 0:00:00.3\n")
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_an_unwritable_output_is_refused_at_once_in_one_line(
    inside: Command, tmp_path: Path, log: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    words = [log if word == "LOG" else word for word in WRITERS[name]]
    done = inside(*words, tmp_path / "file" / "below.png")
    assert done.returncode in (1, 2)
    assert "Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - FOLDERS))
def test_links_lead_to_the_file_that_is_written_and_it_keeps_its_mode(
    inside: Command, tmp_path: Path, log: Path, name: str
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    target, link = folder / "kept.png", tmp_path / "link.png"
    if name not in ("attack", "evaluate", "keys create"):
        target.write_bytes(b"old")
        target.chmod(0o600)
    link.symlink_to(target)
    done = inside(*(log if word == "LOG" else word for word in WRITERS[name]), link)
    assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert target.read_bytes() not in (b"", b"old")
    if name not in ("attack", "evaluate", "keys create"):
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.suffix for path in folder.iterdir()} <= {".png", ".lock"}


@pytest.mark.parametrize("name", ["certify", "evaluate", "attack"])
def test_a_device_is_written_and_stays_one(inside: Command, name: str) -> None:
    null = Path("/dev/null")
    done = inside(*WRITERS[name], null)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert stat.S_ISCHR(null.stat().st_mode)
    assert not [path for path in null.parent.iterdir() if path.name.startswith(("null.", ".null"))]


def test_a_pipe_gets_the_certificate(smoothcert: Command) -> None:
    done = smoothcert(*WRITERS["certify"], "/dev/stdout", "--json")
    assert done.returncode == 0, done.stderr
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(done.stdout)
    assert decoder.raw_decode(done.stdout[end:].lstrip())[0] == first
    assert Certificate.model_validate(first).n == 300


def test_a_certificate_that_could_not_be_kept_is_shown(inside: Command) -> None:
    done = inside(*WRITERS["certify"], "/dev/full")
    assert done.returncode == 2
    assert "--out /dev/full can't be written: No space left on device." in done.stderr
    assert "class" in done.stdout


def test_a_key_made_through_a_link_is_one_the_service_sees(inside: Command, tmp_path: Path) -> None:
    kept, link = tmp_path / "there" / "keys.json", tmp_path / "keys.json"
    first = inside("keys", "create", "ann", "--file", kept).stdout.strip()
    link.symlink_to(kept)
    second = inside("keys", "create", "bob", "--file", link).stdout.strip()
    ring = Keyring.read(kept)
    assert [ring.find(key) is not None for key in (first, second)] == [True, True]
    refused = inside("keys", "create", "ann", "--file", "/dev/null")
    assert (refused.returncode, "is no file that could keep keys" in refused.stderr) == (2, True)


def test_a_signing_key_keeps_its_link_and_only_its_owner_can_read_it(inside: Command, tmp_path: Path) -> None:
    made, there = tmp_path / "keys", tmp_path / "there"
    made.mkdir()
    there.mkdir()
    (made / "signing-key.pem").symlink_to(there / "secret.pem")
    assert inside("keys", "signing", "--out", made).returncode == 0
    assert (made / "signing-key.pem").is_symlink()
    assert stat.S_IMODE((there / "secret.pem").stat().st_mode) == 0o600


def test_figures_are_refused_before_the_votes_where_no_card_could_take_them(
    inside: Command, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / MODEL
    shutil.copytree(models / MODEL, folder)
    card = (folder / "card.json").read_text()
    asked = ("evaluate", folder, *MNIST, "--update-card", "--out", tmp_path / "log.tsv")
    none = inside(*asked, *FEW, "--limit", "0")
    assert (none.returncode, "no image is to be certified" in none.stderr) == (2, True)
    (folder / "card.json").write_text(card.replace('"dataset": "mnist"', '"dataset": "cifar10"'))
    other = inside(*asked, *FEW)
    assert (other.returncode, "was trained on cifar10" in other.stderr) == (2, True)
    assert not os.path.lexists(tmp_path / "log.tsv")


def test_skip_wrong_gives_the_figures_of_the_full_run_and_is_continued_only_as_such(
    inside: Command, tmp_path: Path
) -> None:
    """The untrained model names a wrong class for most images."""
    asked = ("evaluate", MODEL, *MNIST, "--every", "4", "--n", "100", "--seed", "3", "--engine", SETUP)
    full = inside(*asked, "--out", tmp_path / "full.tsv")
    fast = inside(*asked, "--out", tmp_path / "fast.tsv", "--skip-wrong")
    assert (full.returncode, fast.returncode) == (0, 0), full.stderr + fast.stderr
    assert "got no estimation votes (--skip-wrong)" in fast.stdout
    logs = [read_log(tmp_path / name).rows for name in ("full.tsv", "fast.tsv")]
    assert 0 < sum(row.skipped for row in logs[1]) < len(logs[1])
    assert average_certified_radius(logs[0]) == average_certified_radius(logs[1])
    other = inside(*asked, "--out", tmp_path / "fast.tsv", "--resume")
    assert other.returncode == 2
    assert "was made with skip_wrong True, not False" in other.stderr


@pytest.mark.parametrize("more", [("--procedure", "anytime"), ("--workers",)])
def test_skip_wrong_is_refused_where_the_votes_are_not_certifys_own(
    inside: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    done = inside("evaluate", MODEL, *MNIST, *FEW, "--out", tmp_path / "log.tsv", "--skip-wrong", *more)
    assert done.returncode == 2
    assert "--skip-wrong" in done.stderr
    assert not (tmp_path / "log.tsv").exists()
