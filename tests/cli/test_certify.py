import json
from pathlib import Path

from smoothcert.schemas.certificate import Certificate
from tests.cli.conftest import DATA, MODEL, SETUP, Command


def test_certify_prints_a_certificate_and_keeps_it(smoothcert: Command, tmp_path: Path) -> None:
    kept = tmp_path / "cert.json"
    done = smoothcert(
        *("certify", DATA / "digit-3.png", "--n", "500", "--engine", SETUP, "--json", "--out", kept),
    )
    assert done.returncode == 0, done.stderr
    certificate = Certificate.model_validate_json(done.stdout)
    assert Certificate.model_validate_json(kept.read_text()) == certificate
    assert certificate.model.name == MODEL
    assert sum(certificate.selection_counts) == certificate.n0 == 100
    assert sum(certificate.counts) == certificate.n
    assert certificate.engine.precision == "float32"
    assert done.stderr == ""


def test_without_json_the_answer_is_a_sentence(inside: Command, models: Path) -> None:
    done = inside(
        *("certify", DATA / "digit-3.png", "--model", models / MODEL),
        *("--n", "500", "--procedure", "certify", "--engine", SETUP),
    )
    assert done.returncode == 0, done.stderr
    assert "certified within l2 radius" in done.stdout or "abstained" in done.stdout
    assert "500 votes at sigma 0.5" in done.stdout


def test_several_images_are_one_document(inside: Command, tmp_path: Path) -> None:
    asked = ("certify", DATA / "digit-1.png", DATA / "digit-2.png", "--n", "200", "--engine", SETUP)
    done = inside(*asked, "--json", "--out", tmp_path / "all.json")
    assert done.returncode == 0, done.stderr
    several = json.loads(done.stdout)
    assert [Path(one["image"]).name for one in several] == ["digit-1.png", "digit-2.png"]
    assert len({one["certificate"]["seed"] for one in several}) == 2
    assert json.loads((tmp_path / "all.json").read_text()) == several
    lines = inside(*asked).stdout.splitlines()
    assert lines[0].split()[:5] == ["image", "outcome", "class", "label", "radius"]
    assert len(lines) == 3


def test_an_engine_for_the_workers_of_a_service_is_refused_not_ignored(inside: Command) -> None:
    done = inside("certify", DATA / "digit-1.png", "--url", "http://127.0.0.1:9", "--engine", SETUP)
    assert done.returncode == 2
    assert "--engine" in done.stderr


def test_one_bad_file_among_several_is_named_before_any_vote(inside: Command) -> None:
    done = inside("certify", DATA / "digit-1.png", DATA / "not-an-image.txt", "--engine", SETUP)
    assert done.returncode == 2
    assert "not-an-image.txt: Not an image" in done.stderr


def test_evaluate_logs_resumes_and_reports(inside: Command, tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    asked = ("evaluate", MODEL, "--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--every", "2")
    asked += ("--n", "200", "--seed", "5", "--engine", SETUP, "--out", log)
    first = inside(*asked, "--limit", "2")
    assert first.returncode == 0, first.stderr
    log.write_bytes(log.read_bytes()[:-7])  # as a kill would leave it
    second = inside(*asked, "--limit", "4", "--resume")
    assert second.returncode == 0, second.stderr
    indices = [line.split("\t")[0] for line in log.read_text().splitlines()]
    assert indices == ["idx", "0", "2", "4", "6"]
    (record,) = json.loads(inside("report", log, "--format", "json").stdout)
    assert record["images"] == 4
    assert inside(*asked).returncode == 2
