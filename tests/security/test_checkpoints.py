"""Checkpoint folders from somebody who means harm: nothing runs, nothing is read, the other models go on."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save

from smoothcert.errors import BadCheckpoint, InternalError, InvalidRequest
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import CARD_FILE, MAX_CARD, WEIGHTS_FILE, ModelRegistry
from tests.service.shelf import MODEL, write_model

EVIL = "evil"
ABSURD = {
    "a shape of terabytes": {
        "input_shape": [3, 10**6, 10**6],
        "preprocessing": {"mode": "RGB", "mean": [], "std": []},
    },
    "a resize of terabytes": {"preprocessing": {"mode": "L", "resize": 10**6, "mean": [0], "std": [1]}},
    "no pixels": {"input_shape": [1, 0, 28]},
    "colour for grey": {"input_shape": [3, 28, 28]},
    "negative pixels": {"input_shape": [1, -1, -1]},
    "no labels": {"labels": []},
    "an endless label": {"labels": ["x" * 10_000] * 10},
    "an infinite sigma": {"sigma": float("inf")},
    "no sigma": {"sigma": float("nan")},
    "a negative sigma": {"sigma": -1},
    "a mean that is no number": {"preprocessing": {"mode": "L", "mean": [float("nan")], "std": [1]}},
    "a name of another kind": {"name": "../../x <script>"},
    "a digest of another kind": {"weights_sha256": "../" + "0" * 64},
}


@pytest.fixture
def evil(models: Path) -> Path:
    """A second model, to be spoiled."""
    write_model(models, EVIL)
    return models / EVIL


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text()) | changes
    (folder / CARD_FILE).write_text(json.dumps(card))


def put_weights(folder: Path, weights: bytes) -> None:
    (folder / WEIGHTS_FILE).write_bytes(weights)
    change_card(folder, weights_sha256=hashlib.sha256(weights).hexdigest())


def refuses_it_and_goes_on(client: TestClient, digit: bytes) -> None:
    answer = client.post("/certify", files={"image": digit}, data={"model": EVIL})
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
    assert [card["name"] for card in client.get("/models").json()] == [MODEL]
    assert client.post("/certify", files={"image": digit}).status_code == 202


@pytest.mark.parametrize("what", ABSURD)
def test_a_card_with_absurd_figures_is_no_card(
    client: TestClient, evil: Path, digit: bytes, what: str
) -> None:
    change_card(evil, **ABSURD[what])
    refuses_it_and_goes_on(client, digit)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{" + '"a":{' * 100_000,
        "x" * (MAX_CARD + 1),
        "\0",
        '{"name": "evil", "name": 1}',
        "\ud800",
    ],
    ids=["deep list", "deep object", "too large", "zero", "duplicates", "no unicode"],
)
def test_a_card_that_is_no_json_we_take_is_no_card(
    client: TestClient, evil: Path, digit: bytes, text: str
) -> None:
    (evil / CARD_FILE).write_bytes(text.encode(errors="surrogatepass"))
    refuses_it_and_goes_on(client, digit)


def test_not_a_number_in_free_fields_does_not_break_the_list(client: TestClient, evil: Path) -> None:
    change_card(evil, method_options={"eta": float("nan")}, training={"loss": float("inf")})
    answer = client.get("/models")
    assert answer.status_code == 200
    cards = json.loads(answer.text, parse_constant=pytest.fail)
    assert [card["name"] for card in cards] == [EVIL, MODEL]


def test_a_card_cannot_take_another_models_name(client: TestClient, evil: Path, digit: bytes) -> None:
    change_card(evil, name=MODEL)
    assert [card["name"] for card in client.get("/models").json()] == [EVIL, MODEL]
    job = client.post("/certify", files={"image": digit}, data={"model": EVIL}).json()
    assert job["model"] == EVIL


@pytest.mark.parametrize("name", ["Upper", "with space", ".hidden", "-dash", "x" * 101, "<b>"])
def test_a_folder_whose_name_is_none_is_left_out(
    client: TestClient, models: Path, evil: Path, name: str
) -> None:
    evil.rename(models / name)
    assert [card["name"] for card in client.get("/models").json()] == [MODEL]
    assert "no live worker for " + MODEL in client.get("/health/ready").json()["detail"]


@pytest.mark.parametrize(
    "name", ["%2e%2e", "..%2fmodels", "%00", f"{MODEL}%0a", f"{EVIL}%2f..%2f{EVIL}", "%2fetc"]
)
def test_no_name_leads_out_of_the_models(client: TestClient, evil: Path, name: str) -> None:
    (evil.parent.parent / CARD_FILE).write_bytes((evil / CARD_FILE).read_bytes())
    (evil.parent.parent / WEIGHTS_FILE).touch()  # one floor up, a whole checkpoint
    assert client.get(f"/models/{name}").status_code == 404


def test_a_link_shows_nothing_of_the_file_it_leads_to(
    client: TestClient, evil: Path, tmp_path: Path, digit: bytes
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"keys": [{"d": "swordfish"}]}')
    (evil / CARD_FILE).unlink()
    (evil / CARD_FILE).symlink_to(secret)
    refuses_it_and_goes_on(client, digit)
    assert "swordfish" not in client.get(f"/models/{EVIL}").text
    with pytest.raises(BadCheckpoint) as told:
        ModelRegistry(evil.parent).card(EVIL)
    assert "swordfish" not in str(told.value)


@pytest.mark.parametrize("what", [CARD_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
def test_what_never_ends_is_never_opened(client: TestClient, evil: Path, what: str, kind: str) -> None:
    (evil / what).unlink()
    if kind == "pipe":
        os.mkfifo(evil / what)
    else:
        (evil / what).symlink_to("/dev/zero" if kind == "device" else what)
    assert [card["name"] for card in client.get("/models").json()] == [MODEL]


HEADERS = {
    "longer than any file": struct.pack("<Q", 2**63) + b"{}",
    "of 90 MB that isn't there": struct.pack("<Q", 90_000_000) + b"{",
    "offsets beyond the end": struct.pack("<Q", 58)
    + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,99999]}}',
    "a shape that overflows": struct.pack("<Q", 77)
    + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,64]}}'
    + bytes(64),
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "empty": b"",
}


@pytest.mark.parametrize("what", HEADERS)
def test_weights_with_a_false_header_only_fail_to_load(evil: Path, what: str) -> None:
    put_weights(evil, HEADERS[what])
    with pytest.raises(BadCheckpoint):
        load_network(evil)


def test_a_file_larger_than_its_network_is_not_read_whole(evil: Path) -> None:
    with (evil / WEIGHTS_FILE).open("wb") as file:
        file.truncate(10**13)  # sparse: ten terabytes that take no room
    with pytest.raises(BadCheckpoint, match="larger than"):
        load_network(evil)


@pytest.mark.parametrize(
    "name", ["__import__('os')", "../lenet", "torch.hub.load", "fasterrcnn_resnet50_fpn", ""]
)
def test_an_architecture_is_a_name_from_a_list(evil: Path, name: str) -> None:
    change_card(evil, architecture=name)
    with pytest.raises((InvalidRequest, InternalError)):
        load_network(evil)


def test_weights_that_are_no_numbers_are_refused(evil: Path) -> None:
    """What they answer depends on the back end, so no certificate could be about one network."""
    network = build_network("lenet", 10, [0.0], [1.0])
    put_weights(evil, save({k: torch.full_like(v, torch.nan) for k, v in network.state_dict().items()}))
    with pytest.raises(BadCheckpoint, match="NaN or infinite"):
        load_network(evil)
