"""`smoothcert keys`, from a new key to its revocation."""

from pathlib import Path

from smoothcert.schemas.api_keys import Keyring
from tests.cli.conftest import Command


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(inside: Command, tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    made = inside("keys", "create", "ann", "--per-minute", 5, "--file", file)
    text = made.stdout.strip()
    key = Keyring.read(file).find(text)
    assert key is not None
    assert (key.owner, key.per_minute, key.open_jobs) == ("ann", 5, None)
    listed = inside("keys", "list", "--file", file).stdout
    assert key.id in listed
    assert "ann" in listed
    assert text.split("_", 2)[2] not in listed + file.read_text()
    assert inside("keys", "revoke", key.id, "--file", file).returncode == 0
    assert Keyring.read(file).find(text) is None
    again = inside("keys", "revoke", key.id, "--file", file)
    assert (again.returncode, "There is no key" in again.stderr) == (2, True)


def test_invalid_options_are_named_in_the_error(inside: Command, tmp_path: Path) -> None:
    for words, complaint in (
        (["create", "Ann Lee", "--file", tmp_path / "keys.json"], "no owner's name"),
        (["create", "ann"], "SMOOTHCERT_API_KEYS"),
    ):
        refused = inside("keys", *words)
        assert refused.returncode == 2
        assert complaint in refused.stderr
