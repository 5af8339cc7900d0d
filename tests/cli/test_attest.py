"""`smoothcert attest` and `verify STATEMENT --log`: made, signed, recomputed, redrawn, refused."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smoothcert.cli.settings import settings
from smoothcert.models.registry import BUNDLED, ModelRegistry
from smoothcert.schemas.evaluation_log import HEADER, Row, format_row, read_log
from smoothcert.schemas.limits import image_seed
from smoothcert.schemas.statement import Statement
from smoothcert.stats.statement import Question, figures
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, Command, Finished, command_here
from tests.release.verifier import build_verifier
from tests.test_standalone import run as run_isolated

MNIST = ("--data-root", DATA / "mnist-tiny")
RESULTS = ROOT / "docs/results"


@pytest.fixture(scope="module")
def log(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of a hundred digits."""
    kept = tmp_path_factory.mktemp("evaluated") / "log.tsv"
    few = ("--every", "10", "--n", "300", "--engine", SETUP, "--seed", "1")
    with command_here(models) as run:
        done = run("evaluate", MODEL, "--dataset", "mnist", *MNIST, *few, "--out", kept)
    assert done.returncode == 0, done.stderr
    return kept


@pytest.fixture(scope="module")
def stated(models: Path, log: Path) -> Path:
    path = log.with_name("statement.json")
    with command_here(models) as run:
        done = run("attest", log, "--radii", "0.5,0.25,0", "--out", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def statement(stated: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copy(stated, tmp_path))


@pytest.fixture
def signing_key(inside: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    assert inside("keys", "signing", "--out", tmp_path).returncode == 0
    monkeypatch.setenv("SMOOTHCERT_SIGNING_KEY", str(tmp_path / "signing-key.pem"))
    settings.cache_clear()
    yield tmp_path / "signing-keys.json"
    settings.cache_clear()


def edited(path: Path, change: dict[str, Any]) -> Path:
    document = json.loads(path.read_text())
    for place, value in change.items():
        *above, last = place.split(".")
        inner = document
        for key in above:
            inner = inner[int(key)] if key.isdecimal() else inner[key]
        inner[int(last) if last.isdecimal() else last] = value
    path.write_text(json.dumps(document))
    return path


def test_a_statement_is_made_and_recomputed_and_redrawn(inside: Command, statement: Path, log: Path) -> None:
    made = Statement.model_validate_json(statement.read_text())
    assert [share.radius for share in made.radii] == [0, 0.25, 0.5]
    assert (made.images, made.beta, made.class_beta, made.data.every) == (10, 0.05, 0.005, 10)
    assert [one.label for one in made.classes] == list("0123456789")
    assert made.data.sha256 is not None
    assert made.model.classifier_sha256 is not None
    alone = inside("verify", statement)
    assert "not compared with its log" in alone.stdout
    done = inside("verify", statement, "--log", log)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "unsigned, so only its sender's word: issued_at"
    done = inside("verify", statement, "--log", log, *MNIST, "--replay=3")
    assert done.returncode == 0, done.stderr
    assert "3 rows redrawn" in done.stdout
    assert "10 rows redrawn" in inside("verify", statement, "--log", log, *MNIST, "--replay").stdout


def test_the_text_says_what_holds_and_how_surely(inside: Command, log: Path) -> None:
    said = inside("attest", log, "--beta", "0.1").stdout
    assert "with confidence 90 %" in said
    assert "by class, all together with confidence 90 % (Bonferroni: beta 0.01 each)" in said
    assert json.loads(inside("attest", log, "--json").stdout)["kind"] == "statement"
    tiny = inside("attest", log, "--beta", "1e-9", "--radii", "0.00000049,0.123456789").stdout
    assert "with confidence 1 - 1e-09" in tiny
    assert "r=4.9e-07" in tiny
    assert "r=0.123456789" in tiny


def test_a_signed_statement_holds_and_no_field_of_it_can_be_edited(
    inside: Command, log: Path, tmp_path: Path, signing_key: Path
) -> None:
    path = tmp_path / "signed.json"
    assert inside("attest", log, "--out", path).returncode == 0
    whole = path.read_text()
    document = json.loads(whole)
    done = inside("verify", path, "--log", log, "--public-key", signing_key)
    assert done.returncode == 0, done.stderr
    assert "signature" in done.stdout
    for field in document:
        path.write_text(json.dumps({name: value for name, value in document.items() if name != field}))
        assert inside("verify", path, "--public-key", signing_key).returncode == 1, field
        others = {"version": 2, "kind": "certificate", "issued_at": "2020-01-01T00:00:00Z"}
        other = (others | {"target_radius": 0.1, "tolerance": 0.1}).get(field)
        path.write_text(json.dumps(document | {field: other}))
        assert inside("verify", path, "--log", log, "--public-key", signing_key).returncode == 1, field


EDITS: list[tuple[str, dict[str, Any]]] = [
    ("beta", {"beta": 1.0}),
    ("class_beta", {"beta": 0.1}),
    ("class_beta", {"class_beta": 0.05}),
    ("radii.0.at_least", {"radii.0.at_least": 0.9999}),
    ("radii", {"radii.1.radius": 0.6}),
    ("radii", {"radii.1.radius": 0.0}),
    ("radii.0.of", {"radii.0.of": 11}),
    ("radii.0.right", {"radii.0.right": 11}),
    ("classes.2.0.at_least", {"classes.2.radii.0.at_least": 0.9999}),
    ("classes.2", {"classes.2.radii": []}),
    ("classes", {"classes": []}),
    ("images", {"images": 0}),
    ("alpha", {"alpha": 0.0}),
    ("procedure", {"procedure": "predict"}),
    ("sigma", {"sigma": 13.0}),
    ("n", {"n": 0}),
    ("images", {"data.split_images": 110}),
    ("data.every", {"data.every": 0}),
    ("images", {"images": 2**53, "data.split_images": 2**53, "data.every": 1}),
    ("mean_radius", {"mean_radius": 0.999}),
    ("mean_radius", {"mean_radius": 0.01}),
    ("median_radius", {"median_radius": 1.001}),
    ("p_a", {"p_a": {"0.5": 1.5}}),
]
EDITS_OF_WHAT_THE_LOG_SAYS: list[tuple[str, dict[str, Any]]] = [
    ("log_sha256", {"log_sha256": "0" * 64}),
    ("run_sha256", {"run_sha256": "0" * 64}),
    ("procedure", {"procedure": "anytime"}),
    ("sigma", {"sigma": 0.51}),
    ("n", {"n": 400}),
    ("n0", {"n0": 99}),
    ("target_radius", {"target_radius": 0.5}),
    ("model.name", {"model.name": "other"}),
    ("model.sha256", {"model.sha256": "0" * 64}),
    ("model.classifier_sha256", {"model.classifier_sha256": "0" * 64}),
    ("data.dataset", {"data.dataset": "cifar10"}),
    ("data.split", {"data.split": "train"}),
    ("data.split_images", {"data.every": 20, "data.split_images": 200}),
    ("data.sha256", {"data.sha256": "0" * 64}),
    ("engine", {"engine": "cpu"}),
    ("mean_radius", {"mean_radius": 1.0}),
    ("median_radius", {"median_radius": 1.0}),
    ("p_a", {"p_a": {"0.5": 1.0}}),
    ("slack", {"slack": 0.0}),
    ("classes", {"classes.0.label": "zero"}),
]


@pytest.mark.parametrize(("field", "change"), EDITS)
def test_an_edited_statement_is_refused_by_name(
    inside: Command, statement: Path, field: str, change: dict[str, Any]
) -> None:
    done = inside("verify", edited(statement, change))
    assert done.returncode == 1
    assert f": {field}: " in done.stderr


@pytest.mark.parametrize(("field", "change"), EDITS_OF_WHAT_THE_LOG_SAYS)
def test_an_edit_that_only_the_log_shows_is_refused_by_name(
    inside: Command, statement: Path, log: Path, field: str, change: dict[str, Any]
) -> None:
    done = inside("verify", edited(statement, change), "--log", log)
    assert done.returncode == 1
    assert f"refused: {field}: " in done.stderr


def test_counts_moved_together_are_refused_by_the_log(inside: Command, statement: Path, log: Path) -> None:
    """Consistent in itself, and less than was measured: the digit of one image is another one."""
    document = json.loads(statement.read_text())
    first, second = [one["radii"] for one in document["classes"] if one["radii"][0]["of"]][:2]
    for share in [*document["radii"], *(share for one in document["classes"] for share in one["radii"])]:
        share["right"], share["at_least"] = 0, 0.0
    document |= {"mean_radius": 0.0, "median_radius": 0.0}
    for share in first:
        share["of"] += 1
    for share in second:
        share["of"] -= 1
    statement.write_text(json.dumps(document))
    assert inside("verify", statement).returncode == 0
    assert inside("verify", statement, "--log", log).returncode == 1


def copied(log: Path, folder: Path) -> Path:
    for path in (log, log.with_name(f"{log.name}.run.json")):
        shutil.copy(path, folder / path.name)
    return folder / log.name


def reseeded(log: Path, folder: Path, seed: int) -> Path:
    """The log as if the run had another seed."""
    copy = copied(log, folder)
    rows = [
        replace(row, evidence=row.evidence and replace(row.evidence, seed=image_seed(seed, row.idx)))
        for row in read_log(log).rows
    ]
    copy.write_text(HEADER + "".join(format_row(row) for row in rows))
    edited(copy.with_name(f"{copy.name}.run.json"), {"seed": seed})
    return copy


def test_seeds_that_were_chosen_for_each_image_are_no_evidence(
    inside: Command, log: Path, tmp_path: Path
) -> None:
    """Redrawn until its votes are lucky, or shared with another image, whose votes then depend on them."""
    copy = reseeded(log, tmp_path, 2)
    edited(copy.with_name(f"{copy.name}.run.json"), {"seed": 1})
    assert "image 0: its seed is not the one that the run gives" in inside("attest", copy).stderr


def test_a_changed_log_is_no_evidence(inside: Command, log: Path, tmp_path: Path) -> None:
    copy = copied(log, tmp_path)
    lines = copy.read_text().splitlines(keepends=True)
    for kept, reason in (
        (lines[:-1], "a chosen subset (--limit, a filter, or unfinished): every 10 of 100 images gives 10"),
        ([*lines, lines[1]], "duplicates: image 0 is counted more than once"),
        ([*lines[:-1], lines[-1].replace("\t0.001\t", "\t0.01\t")], "mixed alpha: 0.001, 0.01"),
        ([*lines[:-1], lines[-1].replace("\t0.5\t", "\t0.25\t")], "mixed sigma: 0.25, 0.5"),
        (lines[:1], "there are no images"),
    ):
        copy.write_text("".join(kept))
        done = inside("attest", copy)
        assert done.returncode == 2
        assert f"is no evidence for a statement: {reason}" in done.stderr


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def doubled(log: Path, folder: Path) -> Path:
    """The log as if sigma, and with it every radius, were twice as large: its counts prove each row."""
    copy = copied(log, folder)
    rows = [
        replace(row, radius=2 * row.radius, evidence=row.evidence and replace(row.evidence, sigma=1.0))
        for row in read_log(log).rows
    ]
    copy.write_text(HEADER + "".join(format_row(row) for row in rows))
    edited(copy.with_name(f"{copy.name}.run.json"), {"sigma": 1.0})
    return copy


def test_a_log_with_another_sigma_than_its_model_is_no_evidence(
    inside: Command, models: Path, log: Path, statement: Path, tmp_path: Path
) -> None:
    forged = doubled(log, tmp_path)
    assert "is certified at sigma 0.5, and the log at 1" in inside("attest", forged).stderr
    proved, run = json.loads(statement.read_text()), forged.with_name(f"{forged.name}.run.json")
    question = Question((0.0, 0.5, 1.0), 0.05, tuple("0123456789"))
    proved |= {"sigma": 1.0, "slack": 4e-13} | figures(read_log(forged).rows, 0.001, question)
    proved |= {"log_sha256": sha256(forged), "run_sha256": sha256(run)}
    statement.write_text(json.dumps(proved))
    for more in ((), ("--log", forged), ("--model", models / MODEL)):
        done = inside("verify", statement, *more)
        assert (done.returncode, "refused: sigma: " in done.stderr) == (1, True), more
    elsewhere = edited(statement, {"model.name": "elsewhere"})
    assert "not compared with a model" in inside("verify", elsewhere).stdout


def test_what_can_not_be_stated_is_told(inside: Command, log: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        ((log, "--beta", "1"), "--beta 1.0: it must be above 0 and below 1"),
        ((log, "--radii", "0.5,x"), "--radii '0.5,x' is not a list of radii"),
        ((log, "--radii", "-1"), "is not a list of radii"),
        ((tmp_path / "none.tsv",), "can't be read"),
        ((log, "--out", tmp_path / "no" / "such.json"), "--out"),
    ):
        done = inside("attest", *arguments)
        assert done.returncode == 2
        assert reason in done.stderr
    shutil.copy(log, tmp_path / "alone.tsv")
    assert "has no alone.tsv.run.json beside it" in inside("attest", tmp_path / "alone.tsv").stderr


def test_a_replay_that_differs_is_refused(inside: Command, log: Path, tmp_path: Path) -> None:
    """The counts of every row are moved to another seed's, before the statement is made."""
    copy = reseeded(log, tmp_path, 2)
    path = tmp_path / "moved.json"
    assert inside("attest", copy, "--out", path).returncode == 0
    assert inside("verify", path, "--log", copy).returncode == 0
    done = inside("verify", path, "--log", copy, *MNIST, "--replay=10")
    assert done.returncode == 1
    assert "refused: log: image" in done.stderr
    assert "redrawn" in done.stderr
    assert inside("verify", path, "--replay").returncode == 2


def restated(inside: Command, log: Path, folder: Path, rows: list[Row], **run: Any) -> Finished:
    """A statement of these rows, redrawn: one row only."""
    copy, path = copied(log, folder), folder / "restated.json"
    copy.write_text(HEADER + "".join(format_row(row) for row in rows))
    edited(copy.with_name(f"{copy.name}.run.json"), run)
    assert inside("attest", copy, "--out", path).returncode == 0
    assert inside("verify", path, "--log", copy).returncode == 0
    return inside("verify", path, "--log", copy, *MNIST, "--replay=1")


def test_a_replay_compares_the_split_and_every_label(inside: Command, log: Path, tmp_path: Path) -> None:
    """Part of a split as if it were the whole, other images, and one wrong answer called right."""
    rows = list(read_log(log).rows)
    done = restated(inside, log, tmp_path, rows[:5], split_images=50)
    assert "refused: data.split_images: the split here has 100" in done.stderr
    done = restated(inside, log, tmp_path, rows, data_sha256="0" * 64)
    assert "refused: data.sha256" in done.stderr
    last = replace(rows[-1], label=(rows[-1].label + 1) % 10)
    done = restated(inside, log, tmp_path, [*rows[:-1], last])
    assert f"refused: log: image {last.idx} has another label" in done.stderr
    assert restated(inside, log, tmp_path, rows, data_sha256=None).returncode == 0


def test_several_documents_are_checked_at_once(inside: Command, statement: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    done = inside("verify", bad, statement)
    assert done.returncode == 1
    assert f"{statement} holds" in done.stdout
    assert "1 of 2 documents are refused" in done.stderr


def test_the_single_file_verifier_recomputes_statements(log: Path, statement: Path, tmp_path: Path) -> None:
    pyz = tmp_path / "verify.pyz"
    build_verifier(pyz)
    done = run_isolated(pyz, statement, "--log", log)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_isolated(pyz, edited(statement, {"sigma": 0.25}), "--log", log).returncode == 1
    assert run_isolated(pyz, edited(statement, {"beta": 0.2})).returncode == 1


def test_the_single_file_verifier_reads_seeds_of_64_bits(inside: Command, log: Path, tmp_path: Path) -> None:
    pyz, stated = tmp_path / "verify.pyz", tmp_path / "statement.json"
    build_verifier(pyz)
    copy = reseeded(log, tmp_path, 2**64 - 1)
    assert inside("attest", copy, "--out", stated).returncode == 0
    assert run_isolated(pyz, stated, "--log", copy).returncode == 0
    torn = copy.read_text()
    copy.write_text(torn + torn.splitlines()[-1][:9])
    done = run_isolated(pyz, edited(stated, {"log_sha256": sha256(copy)}), "--log", copy)
    assert (done.returncode, "its last line was cut short" in done.stderr) == (1, True)


def test_a_model_that_is_elsewhere_is_named_by_its_folder(inside: Command, tmp_path: Path) -> None:
    path, of = tmp_path / "s.json", RESULTS / "mnist-lenet-consistency-1.00.tsv"
    done = inside("attest", of, "--out", path)
    assert done.returncode == 0
    assert "its classes have numbers" in done.stderr
    folder = ROOT / "models/mnist-lenet-consistency-1.00"
    assert inside("attest", of, "--model", folder, "--out", path).returncode == 0
    assert inside("verify", path, "--log", of, "--model", folder).returncode == 0
    assert (
        "other weights" in inside("attest", of, "--model", ROOT / "models/mnist-lenet-gaussian-0.50").stderr
    )


def test_a_statement_is_put_on_its_models_card(
    inside: Command, log: Path, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / MODEL
    shutil.copytree(models / MODEL, folder)
    done = inside("attest", log, "--model", folder, "--radii", "0,0.5", "--update-card")
    assert done.returncode == 0, done.stderr
    registry = ModelRegistry(folder.parent)
    card, content = registry.card(MODEL), registry.statement(MODEL)
    assert content is not None
    made = Statement.model_validate_json(content)
    assert card.statement is not None
    assert (card.statement.radii, card.statement.images) == (made.radii, 10)
    assert inside("verify", folder / "statement.json", "--log", log, "--model", folder).returncode == 0
    listed = inside("models", SMOOTHCERT_MODELS=str(folder.parent)).stdout
    assert f"{math.floor(1000 * made.radii[1].at_least) / 10:.1f} %" in listed.splitlines()[1].split("  ")[-1]


def test_a_statement_goes_on_no_other_card(inside: Command, tmp_path: Path) -> None:
    of = RESULTS / "mnist-lenet-consistency-1.00.tsv"
    assert "name its folder" in inside("attest", of, "--update-card").stderr
    rounded = RESULTS / "mnist-lenet-consistency-0.50.int8.tsv"
    folder = ROOT / "models/mnist-lenet-consistency-0.50"
    done = inside("attest", rounded, "--model", folder, "--update-card")
    assert done.returncode == 2
    assert "in int8, another classifier" in done.stderr


@pytest.mark.parametrize("model", [card.name for card in ModelRegistry(BUNDLED).cards()])
def test_each_bundled_model_has_a_signed_statement_that_its_log_proves(inside: Command, model: str) -> None:
    registry = ModelRegistry(BUNDLED)
    card, content = registry.card(model), registry.statement(model)
    assert content is not None
    assert card.statement is not None
    made = Statement.model_validate_json(content)
    logs = {sha256(log): log for log in RESULTS.glob(f"{model}*.tsv")}
    log = logs[made.log_sha256]
    assert card.statement.radii == made.radii
    checked = ("--log", log, "--model", BUNDLED / model, "--public-key", BUNDLED / "signing-keys.json")
    done = inside("verify", registry.folder(model) / "statement.json", *checked)
    assert done.returncode == 0, done.stderr
    assert "signature" in done.stdout
