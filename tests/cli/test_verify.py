import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from smoothcert.cli.settings import settings
from smoothcert.models.registry import BUNDLED, STATEMENT_FILE
from tests.cli.conftest import DATA, MODEL, SETUP, Command, Finished, command_here

IMAGE = DATA / "digit-3.png"


@pytest.fixture(scope="module")
def certificate(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept") / "cert.json"
    with command_here(models) as run:
        done = run("certify", IMAGE, "--n", "700", "--engine", SETUP, "--out", kept)
    assert done.returncode == 0, done.stderr
    return kept


def edited(certificate: Path, tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(json.loads(certificate.read_text()) | changes))
    return path


def assert_refused(done: Finished, complaint: str, code: int = 1) -> None:
    assert done.returncode == code
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_certificate_holds_and_its_votes_can_be_redrawn(inside: Command, certificate: Path) -> None:
    done = inside("verify", certificate, "--image", IMAGE, "--replay")
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
    assert "every vote" in done.stdout


def test_an_edited_certificate_is_refused_naming_the_field(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    radius = json.loads(certificate.read_text())["radius"]
    assert_refused(inside("verify", edited(certificate, tmp_path, radius=radius + 0.01)), "refused: radius")
    assert_refused(inside("verify", edited(certificate, tmp_path, radius=-1)), "is not a certificate: radius")
    relabelled = edited(certificate, tmp_path, label="8")
    assert_refused(inside("verify", relabelled), "refused: label")
    reshaped = json.loads(certificate.read_text())["input"] | {"shape": [1, 14, 56]}
    squeezed = edited(certificate, tmp_path, input=reshaped)
    assert_refused(inside("verify", squeezed, "--image", IMAGE), "refused: input")
    other_seed = edited(certificate, tmp_path, seed="0" * 32)
    replayed = inside("verify", other_seed, "--image", DATA / "noise.png", "--replay")
    assert_refused(replayed, "refused: input")


def test_a_model_of_equal_weights_under_another_card_is_not_the_one_that_voted(
    inside: Command, certificate: Path, models: Path, tmp_path: Path
) -> None:
    voted = json.loads(certificate.read_text())["model"]
    bundled = models / voted["name"]
    twin = tmp_path / voted["name"]
    twin.mkdir()
    (twin / "model.safetensors").write_bytes((bundled / "model.safetensors").read_bytes())
    card = json.loads((bundled / "card.json").read_text())
    card["preprocessing"] |= {"mean": [0.5]}
    (twin / "card.json").write_text(json.dumps(card))
    assert inside("verify", certificate, "--model", bundled).returncode == 0
    assert_refused(inside("verify", certificate, "--model", twin), "refused: model: the architecture or norm")


def test_the_image_can_be_compared_where_the_model_is_not_there(
    inside: Command, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHCERT_MODELS", str(tmp_path))
    done = inside("verify", certificate, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    assert "input" in done.stdout
    assert_refused(inside("verify", certificate, "--image", DATA / "digit-4.png"), "refused: input")
    assert_refused(inside("verify", certificate, "--image", IMAGE, "--replay"), "There is no model", code=2)


def test_votes_that_were_never_cast_are_found_by_replay(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    document = json.loads(certificate.read_text())
    shifted = document["selection_counts"]
    top = shifted.index(max(shifted))
    shifted[top] -= 1  # the statistics don't depend on it, the votes do
    forged = edited(certificate, tmp_path, selection_counts=shifted)
    assert inside("verify", forged).returncode == 0
    assert_refused(inside("verify", forged, "--image", IMAGE, "--replay"), "refused: selection_counts")


def test_what_a_document_cannot_be_compared_with_is_refused_not_ignored(
    inside: Command, certificate: Path
) -> None:
    statement = BUNDLED / MODEL / STATEMENT_FILE
    for document, option, value in ((statement, "--image", IMAGE), (certificate, "--log", IMAGE)):
        done = inside("verify", document, option, value)
        assert done.returncode == 2
        assert f"leave {option} out" in done.stderr


def test_replay_needs_the_image(inside: Command, certificate: Path) -> None:
    assert_refused(inside("verify", certificate, "--replay"), "give it with --image", code=2)


def scaled(certificate: Path, tmp_path: Path, factor: float) -> Path:
    """With sigma and radius so many times as large: the counts prove it, for another sigma."""
    document = json.loads(certificate.read_text())
    changes = {name: document[name] * factor for name in ("sigma", "radius")}
    changes |= {"p_lower": document["p_lower"] - 1e-10, "p_upper": document["p_upper"] + 1e-10}
    changes["radius"] *= 1 - 1e-8
    return edited(certificate, tmp_path, **changes, slack=1e-10, implied=None)


def test_sigma_and_classes_are_those_of_the_models_card(
    inside: Command, certificate: Path, models: Path, tmp_path: Path
) -> None:
    for named in ([], ["--model", models / MODEL], ["--model", MODEL]):
        assert_refused(
            inside("verify", scaled(certificate, tmp_path, 10), *named), "refused: sigma: mnist-lenet"
        )
    document = json.loads(certificate.read_text())
    added = {name: [*document[name], 0] for name in ("counts", "selection_counts")}
    assert_refused(inside("verify", edited(certificate, tmp_path, **added)), "refused: counts: mnist-lenet")
    squeezed = document["input"] | {"shape": [1, 14, 56]}
    assert_refused(inside("verify", edited(certificate, tmp_path, input=squeezed)), "refused: input.shape")


def test_the_model_that_is_meant_is_the_one_the_certificate_names(
    inside: Command, certificate: Path, models: Path, tmp_path: Path
) -> None:
    model = json.loads(certificate.read_text())["model"]
    renamed = edited(certificate, tmp_path, model=model | {"name": "another"})
    assert_refused(inside("verify", renamed, "--model", MODEL), "refused: model: it names another")
    assert "not compared with a model" in inside("verify", renamed).stdout
    elsewhere = edited(certificate, tmp_path, model=model | {"name": str(models / MODEL)})
    assert_refused(inside("verify", elsewhere), "refused: model.name")


def test_a_folder_may_have_another_name_than_its_card_says(
    inside: Command, certificate: Path, models: Path, tmp_path: Path
) -> None:
    """A service calls a model by its folder."""
    (tmp_path / "served").symlink_to(models / MODEL)
    shutil.copytree(models / MODEL, tmp_path / "copied")
    model = json.loads(certificate.read_text())["model"]
    copied = edited(certificate, tmp_path, model=model | {"name": "copied"})
    assert inside("verify", copied, "--model", tmp_path / "copied").returncode == 0
    assert inside("verify", certificate, "--model", tmp_path / "served").returncode == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "it is a directory"),
        (b"", "the file: is empty"),
        (b"1", "the document: is not a JSON object"),
        (b"[1]", "the document: is a list, as of several images"),
        (b"\xff\xfe\x00", "the file: byte 2"),
        (b'{"radius": 99.0, "radius": 0.1}', "radius: stands twice"),
    ],
)
def test_what_is_no_certificate_ends_in_one_line(
    inside: Command, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "no-certificate"
    path.mkdir() if content is None else path.write_bytes(content)
    assert_refused(inside("verify", path), f"{path} is not a certificate: {complaint}")


def test_a_file_without_an_end_is_not_read_to_it(inside: Command, certificate: Path) -> None:
    assert_refused(inside("verify", "/dev/zero"), "is larger than")
    assert_refused(inside("verify", "/dev/null"), "is empty")
    assert_refused(inside("verify", certificate, "--image", "/dev/zero"), "is larger than", code=2)


def test_a_certificate_is_read_in_another_encoding(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        path = tmp_path / encoding
        path.write_text(certificate.read_text(), encoding=encoding)
        assert inside("verify", path).returncode == 0


@pytest.mark.parametrize(
    "changes", [{"backend": "abacus"}, {"batch": 10**9}, {"precision": "int1"}, {"backend": "cuda-graph"}]
)
def test_a_set_up_that_there_is_not_is_refused_before_any_vote(
    inside: Command, certificate: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    engine = json.loads(certificate.read_text())["engine"]
    path = edited(certificate, tmp_path, engine=engine | changes)
    assert_refused(inside("verify", path, "--image", IMAGE, "--replay"), "refused: engine")


def test_a_seed_that_is_none_is_found_without_replay(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    for seed in ("", "5e", "x" * 32):
        assert_refused(inside("verify", edited(certificate, tmp_path, seed=seed)), "refused: seed")


@pytest.mark.parametrize(
    ("asked_before", "words"),
    [
        (0, "the service was not asked before about these pixels with this model and sigma\n"),
        (1, "asked once before about these pixels with this model and sigma: with probability at most 0.002"),
        (3, "any of these 4 answers, each at alpha 0.001 or less, is wrong\n"),
        (2000, "asked 2000 times before"),
        (2000, "with probability at most 1\n"),
    ],
)
def test_what_asking_before_means_is_said(
    inside: Command, certificate: Path, tmp_path: Path, asked_before: int, words: str
) -> None:
    said = inside("verify", edited(certificate, tmp_path, asked_before=asked_before)).stdout
    assert words in said
    assert "word: " in said
    assert "asked_before" in said.splitlines()[-1], "nothing but a signature confirms it"


def test_without_a_count_nothing_is_said_of_it(inside: Command, certificate: Path, tmp_path: Path) -> None:
    assert json.loads(certificate.read_text())["asked_before"] is None, "no service issued it"
    older = json.loads(certificate.read_text())
    del older["asked_before"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    for path in (certificate, tmp_path / "older.json"):
        done = inside("verify", path)
        assert done.returncode == 0, done.stderr
        assert "asked" not in done.stdout


@pytest.mark.parametrize("count", [-1, "1", 1.0, 1.5, True, [0]])
def test_a_count_that_is_none_is_refused(
    inside: Command, certificate: Path, tmp_path: Path, count: object
) -> None:
    path = edited(certificate, tmp_path, asked_before=count)
    assert_refused(inside("verify", path), "is not a certificate: asked_before")


def test_what_was_not_checked_is_named_in_the_last_line(
    inside: Command, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = edited(certificate, tmp_path, later=3)
    last = inside("verify", document, "--image", IMAGE, "--replay").stdout.splitlines()[-1]
    assert last == "unsigned, so only its sender's word: made_by, issued_at, later"
    monkeypatch.setenv("SMOOTHCERT_MODELS", str(tmp_path))
    settings.cache_clear()
    first, *_, last = inside("verify", certificate).stdout.splitlines()
    words = "sigma, selection_counts, counts, model, label, input, seed, engine, made_by, issued_at"
    assert last == f"unsigned, so only its sender's word: {words}"
    assert not set(words.split(", ")) & set(first.rpartition("checked ")[2].split(", "))
