"""`smoothcert keys signing`, and what `verify --public-key` makes of signatures."""

import json
from pathlib import Path

import pytest

from smoothcert.schemas.certificate import Certificate, PublicKeys
from smoothcert.signing import Signer
from tests.cli.conftest import DATA, SETUP, Command, command_here


@pytest.fixture(scope="module")
def unsigned(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept") / "cert.json"
    with command_here(models) as run:
        done = run("certify", DATA / "digit-3.png", "--n", "300", "--engine", SETUP, "--out", kept)
    assert done.returncode == 0, done.stderr
    return kept


def test_a_key_pair_is_made_used_and_followed_by_another(
    inside: Command, unsigned: Path, tmp_path: Path
) -> None:
    assert inside("keys", "signing", "--out", tmp_path).returncode == 0
    private, public = tmp_path / "signing-key.pem", tmp_path / "signing-keys.json"
    assert private.stat().st_mode & 0o077 == 0
    signed = tmp_path / "signed.json"
    certificate = Certificate.model_validate_json(unsigned.read_text())
    signed.write_text(Signer.read(private).sign(certificate).model_dump_json(indent=2))
    assert "not checked" in inside("verify", signed).stdout
    done = inside("verify", signed, "--public-key", public)
    assert done.returncode == 0, done.stderr
    assert "signature" in done.stdout
    assert inside("keys", "signing", "--out", tmp_path).returncode == 2
    assert inside("keys", "signing", "--out", tmp_path, "--replace").returncode == 0
    assert len(PublicKeys.read(public).keys) == 2
    assert inside("verify", signed, "--public-key", public).returncode == 0

    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(json.loads(signed.read_text()) | {"seed": "0" * 32}))
    assert inside("verify", edited).returncode == 0, "the figures don't depend on the seed"
    refused = inside("verify", edited, "--public-key", public)
    assert (refused.returncode, "refused: signature" in refused.stderr) == (1, True)
    missing = inside("verify", unsigned, "--public-key", public)
    assert "signature: there is none" in missing.stderr
