import json
from pathlib import Path

from certification.contract.certificate import Certificate
from tests.smoothcert.conftest import DATA, MODEL, SETUP, Command


def test_certify_prints_a_certificate_and_keeps_it(smoothcert: Command, tmp_path: Path) -> None:
    kept = tmp_path / "cert.json"
    done = smoothcert(
        *("certify", DATA / "digit-3.png", "--n", "500", "--setup", SETUP, "--json", "--out", kept),
    )
    assert done.returncode == 0, done.stderr
    certificate = Certificate.model_validate_json(done.stdout)
    assert Certificate.model_validate_json(kept.read_text()) == certificate
    assert certificate.model.name == MODEL
    assert sum(certificate.selection_counts) == certificate.n0 == 100
    assert sum(certificate.counts) == certificate.n
    assert certificate.engine.precision == "float32"
    assert done.stderr == ""


def test_without_json_the_answer_is_said_in_words(inside: Command, models: Path) -> None:
    done = inside(
        *("certify", DATA / "digit-3.png", "--model", models / MODEL),
        *("--n", "500", "--procedure", "certify", "--setup", SETUP),
    )
    assert done.returncode == 0, done.stderr
    assert "certified within l2 radius" in done.stdout or "abstained" in done.stdout
    assert "500 votes at sigma 0.5" in done.stdout


def test_evaluate_logs_resumes_and_reports(smoothcert: Command, inside: Command, tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    asked = ("evaluate", MODEL, "--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--every", "2")
    asked += ("--n", "200", "--seed", "5", "--setup", SETUP, "--out", log)
    first = smoothcert(*asked, "--limit", "2")
    assert first.returncode == 0, first.stderr
    log.write_bytes(log.read_bytes()[:-7])  # as a kill would leave it
    second = inside(*asked, "--limit", "4", "--resume")
    assert second.returncode == 0, second.stderr
    indices = [line.split("\t")[0] for line in log.read_text().splitlines()]
    assert indices == ["idx", "0", "2", "4", "6"]
    (record,) = json.loads(inside("report", log, "--format", "json").stdout)
    assert record["images"] == 4
    assert inside(*asked).returncode == 2
