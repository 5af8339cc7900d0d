"""benchmarks/identical.py tells equal certificates from others."""

import io
import json
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from smoothcert.schemas.certificate import Certificate

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "identical.py"
MODEL = "mnist-lenet-consistency-0.50"
ENGINE = "cpu:eager/channels-last/folded/1-threads:float32:64"


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str | Path) -> Finished:
    """The script in this process, which has loaded torch already."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as changed, redirect_stdout(out), redirect_stderr(err):
        changed.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        changed.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, out.getvalue(), err.getvalue())


def certify(path: Path) -> None:
    done = run("certify", path, "--models", MODEL, "--engines", ENGINE)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("identical") / "before.json"
    certify(path)
    return path


def test_it_writes_whole_certificates_of_ten_images(written: Path) -> None:
    certificates = json.loads(written.read_text())
    assert len(certificates) == 30, "ten images by three procedures"
    one = certificates[f"{MODEL}/{ENGINE}/digit-7.png/anytime"]
    certificate = Certificate.model_validate(one | {"issued_at": "2026-01-01T00:00:00Z"})
    assert certificate.predicted_class == 7
    assert sum(certificate.counts) == certificate.n


def test_the_same_code_gives_the_same_certificates(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    certify(again)
    done = run("compare", written, again)
    assert done.returncode == 0
    assert "30 and 30 certificates, 0 differences" in done.stdout


def test_a_changed_radius_and_a_missing_certificate_are_differences(written: Path, tmp_path: Path) -> None:
    certificates = json.loads(written.read_text())
    changed, missing = sorted(certificates)[:2]
    certificates[changed]["radius"] += 1e-15
    del certificates[missing]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(certificates))
    done = run("compare", written, other)
    assert done.returncode == 1
    assert f"{changed}: radius" in done.stdout
    assert f"{missing}: counts" in done.stdout
