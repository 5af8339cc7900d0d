"""benchmarks/identical.py tells equal certificates from others."""

import json
from pathlib import Path

import pytest

from benchmarks.identical import main
from smoothcert.schemas.certificate import Certificate

MODEL = "mnist-lenet-consistency-0.50"
SETUP = "cpu:eager/channels-last/folded/1-threads:float32:64"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("identical") / "before.json"
    assert main(["certify", str(path), "--models", MODEL, "--setups", SETUP]) == 0
    return path


def test_it_writes_whole_certificates_of_ten_images(written: Path) -> None:
    certificates = json.loads(written.read_text())
    assert len(certificates) == 30, "ten images by three procedures"
    one = certificates[f"{MODEL}/{SETUP}/digit-7.png/anytime"]
    certificate = Certificate.model_validate(one | {"issued_at": "2026-01-01T00:00:00Z"})
    assert certificate.predicted_class == 7
    assert sum(certificate.counts) == certificate.n


def test_the_same_code_gives_the_same_certificates(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.json"
    assert main(["certify", str(again), "--models", MODEL, "--setups", SETUP]) == 0
    assert main(["compare", str(written), str(again)]) == 0
    assert "30 and 30 certificates, 0 differences" in capsys.readouterr().out


def test_a_changed_radius_and_a_missing_certificate_are_differences(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates = json.loads(written.read_text())
    changed, missing = sorted(certificates)[:2]
    certificates[changed]["radius"] += 1e-15
    del certificates[missing]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(certificates))
    assert main(["compare", str(written), str(other)]) == 1
    said = capsys.readouterr().out
    assert f"{changed}: radius" in said
    assert f"{missing}: counts" in said
