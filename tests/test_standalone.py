"""`verify.pyz` in a process that has the standard library and nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smoothcert.schemas.certificate import Certificate
from smoothcert.stats.procedure import Certification
from tests.release.verifier import build_verifier
from tests.support.issuing import EVEN, SURE, certificate_for, certification_of, issued

Finished = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "verify.pyz"
    build_verifier(path)
    return path


def run(pyz: Path, *arguments: object) -> Finished:
    """Isolated (-I), without installed packages (-S), far from the checkout."""
    words = [sys.executable, "-I", "-S", pyz, *map(str, arguments)]
    return subprocess.run(words, cwd=pyz.parent, capture_output=True, text=True, check=False, timeout=60)


def written(folder: Path, certificate: Certificate, **changes: Any) -> Path:
    path = folder / "cert.json"
    path.write_text(json.dumps(certificate.model_dump(mode="json") | changes))
    return path


@pytest.mark.parametrize(
    "wish", [{}, {"tolerance": 0.1}, {"procedure": "certify"}, {"procedure": "predict", "n": 500}]
)
@pytest.mark.parametrize("probabilities", [SURE, EVEN])
def test_certificates_hold_without_any_package(
    pyz: Path, tmp_path: Path, wish: dict[str, Any], probabilities: list[float]
) -> None:
    done = run(pyz, written(tmp_path, certificate_for(wish, probabilities)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "holds: checked alpha, schedule" in done.stdout
    assert "not compared with a model, an image or a signature" in done.stdout


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("radius", {"radius": 0.9}),
        ("p_lower", {"p_lower": 0.99}),
        ("alpha", {"alpha": 0.01}),
        ("n0", {"n0": "100"}),
        ("n0", {"n0": True}),
        ("counts.1", {"counts": [0, 1.5, 0]}),
        ("outcome", {"outcome": "sure"}),
        ("issued_at", {"issued_at": "yesterday"}),
        ("issued_at", {"issued_at": "2026-02-30T00:00:00Z"}),
        ("issued_at", {"issued_at": "2026-12-01T24:00:00Z"}),
        ("issued_at", {"issued_at": "\u0662\u0660\u0662\u0666-12-01T00:00:00Z"}),
        ("signature.key_id", {"signature": {"key_id": "abc\n", "value": "x"}}),
        ("signature.value", {"signature": {"key_id": "abc", "value": "x" * 201}}),
        ("input.shape", {"input": {"shape": [1, 28], "sha256": "0" * 64, "preprocessing": []}}),
        ("input.sha256", {"input": {"shape": [1, 28, 28], "preprocessing": []}}),
        ("asked_before", {"asked_before": -1}),
        ("asked_before", {"asked_before": "1"}),
        ("implied.pixels", {"implied": {"l1": 0.1, "linf": 0.1, "linf_levels": 1, "pixels": 0.5}}),
    ],
)
def test_a_wrong_field_is_named(pyz: Path, tmp_path: Path, field: str, change: dict[str, Any]) -> None:
    done = run(pyz, written(tmp_path, certificate_for({}), **change))
    assert done.returncode == 1
    assert f": {field}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_asking_before_means_is_said(pyz: Path, tmp_path: Path) -> None:
    done = run(pyz, written(tmp_path, certificate_for({}), asked_before=2))
    assert "asked 2 times before" in done.stdout
    assert "with probability at most 0.003" in done.stdout


def test_every_document_is_checked_and_the_worst_status_returned(pyz: Path, tmp_path: Path) -> None:
    good = written(tmp_path, certificate_for({}))
    (tmp_path / "bad.json").write_text('{"radius": 1, "radius": 2}')
    done = run(pyz, good, tmp_path / "bad.json", tmp_path / "none.json")
    assert done.returncode == 2
    assert "holds" in done.stdout
    assert "radius: stands twice" in done.stderr
    assert "none.json can't be read" in done.stderr


def test_without_a_document_it_says_how_it_is_used(pyz: Path) -> None:
    assert run(pyz).returncode == 2
    assert run(pyz, "--help").stdout.startswith("usage: python verify.pyz")


def test_a_certificate_from_before_holds(pyz: Path, tmp_path: Path) -> None:
    path = written(tmp_path, certificate_for({}))
    document = json.loads(path.read_text())
    for later in ("implied", "drawn", "tolerance", "signature", "asked_before"):
        del document[later]
    path.write_text(json.dumps(document))
    assert run(pyz, path).returncode == 0


def test_builds_of_one_tree_are_alike(pyz: Path, tmp_path: Path) -> None:
    build_verifier(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()


def ten_million_votes() -> Certification:
    certification = certification_of({"n": 10_000_000})
    shares = np.array([0.04, 0.51, 0.45])
    while (votes := certification.request(10_000_000)) is not None:
        certification.add(votes, (votes.votes * shares).astype(np.int64))
    return certification


def test_ten_million_votes_take_no_noticeable_time(pyz: Path, tmp_path: Path) -> None:
    """A tenth of a second here; the limit only tells it from a sum over all votes."""
    path, started = written(tmp_path, issued(ten_million_votes())), time.monotonic()
    assert run(pyz, path).returncode == 0
    assert time.monotonic() - started < 20
