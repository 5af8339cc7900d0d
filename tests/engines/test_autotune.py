from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from smoothcert.engines import autotune
from smoothcert.engines.autotune import (
    Subject,
    Trial,
    Tuning,
    candidates,
    choose_config,
    compiled,
    default_config,
    measure,
)
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.errors import InternalError
from smoothcert.schemas.card import Int8
from tests.support.cards import card_with, measured

SHAPE = (3, 12, 12)
EAGER = EngineConfig("cpu", "eager", "float32", 32, threads=1)
IMPOSSIBLE = EngineConfig("cpu", "cuda-graph", "float32", 32, threads=1)


@pytest.fixture
def subject(small_network: nn.Module) -> Subject:
    return Subject(small_network, SHAPE, 6, "a" * 64)


@pytest.fixture
def two_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs and one that can't, so that the tests take no minutes."""
    monkeypatch.setattr(autotune, "candidates", lambda shape, device, *, int8: [IMPOSSIBLE, EAGER])
    monkeypatch.setattr(autotune, "_SECONDS", 0.01)


def test_a_candidate_that_fails_says_why_and_is_not_chosen(subject: Subject) -> None:
    failed, ran = measure(subject, IMPOSSIBLE, 0.01), measure(subject, EAGER, 0.01)
    assert failed.votes_per_second is None
    assert "cuda-graph" in (failed.error or "")
    assert ran.votes_per_second is not None
    assert Tuning((failed, ran)).fastest == EAGER


def test_the_fastest_is_chosen() -> None:
    slow, fast = EngineConfig("cpu", "eager", "float32", 8), EngineConfig("cpu", "eager", "float32", 16)
    assert Tuning((Trial(slow, 10.0, 0.1), Trial(fast, 20.0, 0.1))).fastest == fast


def test_a_batch_so_large_that_most_of_it_is_padding_is_not_chosen() -> None:
    huge, small = (
        EngineConfig("cpu", "eager", "float32", 150_000),
        EngineConfig("cpu", "eager", "float32", 1000),
    )
    assert Tuning((Trial(huge, 1100.0, 0.1), Trial(small, 1000.0, 0.1))).fastest == small


def test_where_nothing_runs_the_failure_names_every_reason(subject: Subject) -> None:
    with pytest.raises(InternalError, match=r"No engine runs.*cuda-graph"):
        _ = Tuning((measure(subject, IMPOSSIBLE, 0.01),)).fastest


@pytest.mark.usefixtures("two_candidates")
def test_a_choice_is_remembered_for_the_same_weights_only(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_config(subject, tmp_path / "cache") == EAGER
    monkeypatch.setattr(autotune, "tune", _must_not_run)
    assert choose_config(subject, tmp_path / "cache") == EAGER
    with pytest.raises(AssertionError, match="measured again"):
        choose_config(Subject(subject.network, SHAPE, 6, "b" * 64), tmp_path / "cache")
    with pytest.raises(AssertionError, match="measured again"):  # int8 has become a candidate
        choose_config(Subject(subject.network, SHAPE, 6, "a" * 64, "c" * 64), tmp_path / "cache")


@pytest.mark.parametrize(("acr", "rounded_acr"), [(0.7, 0.697), (0.7, 0.69), (None, 0.7), (0.7, None)])
def test_int8_is_tried_only_where_its_measured_radius_is_as_good(
    small_network: nn.Module, monkeypatch: pytest.MonkeyPatch, acr: float | None, rounded_acr: float | None
) -> None:
    monkeypatch.setattr(autotune, "has_int8", lambda: True)
    monkeypatch.setattr(autotune, "find_spec", lambda name: name)
    card = card_with(evaluation=measured(acr), int8=Int8(sha256="d" * 64, evaluation=measured(rounded_acr)))
    subject = Subject.of(small_network, card)
    precisions = [config.precision for config in subject.candidates("cpu")]
    assert ("int8" in precisions) == (subject.int8_sha256 is not None) == (rounded_acr == 0.697)
    assert precisions[0] == ("int8" if rounded_acr == 0.697 else precisions[0])
    assert "float32" in precisions
    monkeypatch.setattr(autotune, "has_int8", lambda: False)
    assert "int8" not in [config.precision for config in subject.candidates("cpu")]


@pytest.mark.usefixtures("two_candidates")
def test_compilation_is_tried_when_asked_for_on_the_fastest_only(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "compiled", lambda config: IMPOSSIBLE if config == EAGER else None)
    assert [trial.config for trial in autotune.tune(subject, "cpu").trials] == [IMPOSSIBLE, EAGER]
    tried = autotune.tune(subject, "cpu", seconds=0.01, compile_too=True)
    assert [trial.config for trial in tried.trials] == [IMPOSSIBLE, EAGER, IMPOSSIBLE]
    assert tried.fastest == EAGER


@pytest.mark.usefixtures("two_candidates")
@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"setup": 3}', b'{"setup": "cpu:magic:float32:8"}', b"\xff"]
)
def test_a_spoilt_memory_is_measured_anew(subject: Subject, tmp_path: Path, content: bytes) -> None:
    choose_config(subject, tmp_path)
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    assert choose_config(subject, tmp_path) == EAGER


@pytest.mark.usefixtures("two_candidates")
def test_a_cache_that_cannot_be_written_does_not_stop_anybody(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert choose_config(subject, tmp_path / "file") == EAGER


def test_a_network_that_breaks_is_reported_with_its_last_line() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("first line\nout of luck")

    trial = measure(Subject(Broken(), SHAPE, 6, "c" * 64), EAGER, 0.01)
    assert trial.error == "RuntimeError: out of luck"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 224, 224), (3, 600, 600)])
def test_there_are_distinct_candidates_for_every_size_of_image(
    device: str, shape: tuple[int, int, int]
) -> None:
    found = candidates(shape, device)  # type: ignore[arg-type]
    assert len(set(found)) == len(found) > 1
    assert all(config.device == device for config in found)
    assert compiled(found[0]) not in {None, *found}


def test_the_default_config_runs_here(small_network: nn.Module) -> None:
    config = default_config((1, 28, 28), "cpu", threads=1)
    assert config.threads == 1
    engine = Engine(small_network, SHAPE, 6, config)
    assert engine.sampler(np.zeros(SHAPE, dtype=np.uint8), 0.25, 1).slack > 0


def _must_not_run(*_: object) -> Tuning:
    raise AssertionError("measured again")
