"""`attest --timestamp-url`, `timestamp` and `verify --timestamp`, with a small real authority."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smoothcert.environment import how_to_install
from tests.cli.conftest import ROOT, Command
from tests.support.authority import POLICY, Answer, OpensslAuthority, make_party, need_openssl, serving
from tests.support.issuing import certificate_for

LOG = ROOT / "docs/results/mnist-lenet-consistency-0.50.tsv"
ATTEST = ("attest", LOG, "--model", ROOT / "models/mnist-lenet-consistency-0.50", "--radii", "0.5")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpensslAuthority]:
    need_openssl()
    with serving(OpensslAuthority(tmp_path_factory.mktemp("authority"))) as running:
        yield running


@pytest.fixture
def authority(started: OpensslAuthority) -> Iterator[OpensslAuthority]:
    yield started
    started.answer = Answer()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "cert.json"
    path.write_text(certificate_for({}).model_dump_json(indent=2))
    return path


def trusting(authority: OpensslAuthority) -> tuple[object, ...]:
    return "--timestamp", "--timestamp-ca", authority.roots


def test_a_statement_is_stamped_and_the_time_proved(
    inside: Command, authority: OpensslAuthority, tmp_path: Path
) -> None:
    path = tmp_path / "statement.json"
    before = datetime.now(UTC).replace(microsecond=0)
    done = inside(*ATTEST, "--out", path, "--timestamp-url", authority.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(path.read_text())
    assert "not checked against a root" in done.stderr
    assert authority.holds(path, tmp_path / "statement.json.tsr")
    assert "not compared with its time stamp" in inside("verify", path).stdout
    done = inside("verify", path, *trusting(authority), "--timestamp-policy", POLICY)
    assert done.returncode == 0, done.stderr
    assert ", timestamp\n" in done.stdout
    time = re.search(r"existed at (\S+Z), to within 1 s, by CN=Test Authority", done.stdout)
    assert time
    assert before <= datetime.fromisoformat(time[1]) <= datetime.now(UTC)


def test_a_fresh_stamp_is_checked_at_once_with_a_root(
    inside: Command, authority: OpensslAuthority, certificate: Path, tmp_path: Path
) -> None:
    other = make_party("Other", ca=True)
    other.write(tmp_path, "other")
    wanted = ("timestamp", certificate, "--timestamp-url", authority.url, "--timestamp-ca")
    done = inside(*wanted, tmp_path / "other.pem")
    assert done.returncode == 1
    assert "without a time stamp: its certificate is not trusted" in done.stderr
    assert not (tmp_path / "cert.json.tsr").exists()
    done = inside(*wanted, authority.roots)
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stderr


def test_a_certificate_is_stamped_once_and_a_changed_one_again(
    inside: Command, authority: OpensslAuthority, certificate: Path
) -> None:
    stamp = ("timestamp", certificate, "--timestamp-url", authority.url)
    assert inside(*stamp).returncode == 0
    kept = certificate.with_name("cert.json.tsr")
    first = kept.read_bytes()
    done = inside(*stamp)
    assert done.returncode == 0
    assert "has a stamp already" in done.stdout
    assert kept.read_bytes() == first
    certificate.write_text(certificate.read_text() + "\n")
    refused = inside("verify", certificate, *trusting(authority))
    assert refused.returncode == 1
    assert f"{certificate} is refused: timestamp: it is over other bytes" in refused.stderr
    assert "is replaced" in inside(*stamp).stderr
    assert inside("verify", certificate, *trusting(authority)).returncode == 0
    kept.rename(certificate.with_name("token"))
    done = inside("verify", certificate, *trusting(authority))
    assert (done.returncode, "timestamp: there is none" in done.stderr) == (1, True)
    token = ("--timestamp", certificate.with_name("token"), "--timestamp-ca", authority.roots)
    assert inside("verify", certificate, *token).returncode == 0
    assert inside("verify", *token, certificate).returncode == 0
    assert inside("verify", "--timestamp-ca", authority.roots, "--timestamp", certificate).returncode == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=500), "it answered 500"),
        (Answer(body=b"0" * 300_000), "the answer is larger than 200000 bytes"),
    ],
)
def test_a_failing_authority_loses_no_statement(
    inside: Command, authority: OpensslAuthority, tmp_path: Path, answer: Answer, reason: str
) -> None:
    path = tmp_path / "my statement.json"
    authority.answer = answer
    done = inside(*ATTEST, "--out", path, "--timestamp-url", authority.url)
    assert done.returncode == 1
    assert "with confidence 95 %" in done.stdout
    said = done.stderr.splitlines()[-1]
    assert f"{path} is kept, without a time stamp: {authority.url} gave none: {reason}" in said
    assert said.endswith(f"To add one: smoothcert timestamp '{path}' --timestamp-url {authority.url}")
    assert inside("verify", path).returncode == 0
    authority.answer = Answer()
    assert inside("timestamp", path, "--timestamp-url", authority.url).returncode == 0
    assert inside("verify", path, *trusting(authority)).returncode == 0


def test_what_can_not_be_stamped_is_refused_before_the_work(
    inside: Command, authority: OpensslAuthority, tmp_path: Path
) -> None:
    out, url = ("--out", tmp_path / "statement.json"), ("--timestamp-url", authority.url)
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    for arguments, reason in (
        (url, "--timestamp-url needs --out"),
        ((*url, "--out", "/dev/null"), "--timestamp-url needs --out"),
        ((*out, "--timestamp-ca", authority.roots), "--timestamp-ca needs --timestamp-url"),
        ((*out, "--timestamp-url", "nowhere"), "is no address"),
        ((*out, *url, "--timestamp-ca", tmp_path / "none.pem"), "can't be read"),
        ((*out, *url, "--timestamp-ca", tmp_path / "key.pem"), "holds no certificate"),
    ):
        done = inside(*ATTEST, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
    assert not (tmp_path / "statement.json").exists()


def test_several_documents_are_stamped_and_the_wrong_ones_told(
    inside: Command, authority: OpensslAuthority, certificate: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    done = inside("timestamp", bad, certificate, "--timestamp-url", authority.url)
    assert done.returncode == 1
    assert "bad.json is not a certificate" in done.stderr
    assert "1 of 2 documents have no time stamp" in done.stderr
    assert inside("verify", certificate, *trusting(authority)).returncode == 0


def test_a_check_without_roots_is_refused(inside: Command, certificate: Path) -> None:
    for arguments, reason in (
        (("--timestamp",), "--timestamp needs --timestamp-ca"),
        (("--timestamp-ca", certificate), "need --timestamp"),
        (("--timestamp", "--timestamp-ca", certificate), "holds no certificate"),
    ):
        done = inside("verify", certificate, *arguments)
        assert done.returncode == 2
        assert reason in done.stderr


def test_without_the_library_one_line_says_what_to_install(certificate: Path) -> None:
    script = (
        "import sys; sys.modules['rfc3161_client'] = None;"
        "from smoothcert.cli.main import app; sys.argv[0] = 'smoothcert'; app()"
    )
    for arguments in (
        ("timestamp", certificate, "--timestamp-url", "http://127.0.0.1:1/"),
        ("verify", certificate, "--timestamp", "--timestamp-ca", certificate),
        (*ATTEST, "--out", certificate.with_name("s.json"), "--timestamp-url", "http://127.0.0.1:1/"),
    ):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip().endswith(how_to_install("verify"))
        assert len(done.stderr.splitlines()) == 1
    assert not certificate.with_name("s.json").exists()
