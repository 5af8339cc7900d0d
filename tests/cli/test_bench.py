import json

import pytest

from smoothcert.cli.bench import Bench
from smoothcert.engines.autotune import Trial, Tuning
from smoothcert.engines.config import EngineConfig
from tests.cli.conftest import MODEL, SETUP, Command

FAILS = "cuda:eager:float32:64"
SLOWER = "cpu:eager/1-threads:float32:1"


def test_bench_prints_one_document_about_every_config_named(inside: Command) -> None:
    done = inside("bench", MODEL, "--json", "--seconds", "0.06", "--engine", SLOWER, "--engine", SETUP)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [one["setup"] for one in document["setups"]] == [SLOWER, SETUP]
    assert document["fastest"] == SETUP
    assert document["flop_per_vote"] == LENET_FLOP
    for one in document["setups"]:
        assert one["seconds_per_certificate"] >= 100_100 / one["votes_per_second"] * 0.999
        reached = one["votes_per_second"] * LENET_FLOP / document["matrix_product_flops"]["float32"]
        assert one["share_of_matrix_rate"] == pytest.approx(reached)
        assert one["error"] is None


# Two for each multiply-add: 20 and 50 kernels of 5x5 on 24x24 and 8x8 pixels, then 800-500-10.
LENET_FLOP = 2 * (24 * 24 * 20 * 25 + 8 * 8 * 50 * 20 * 25 + 800 * 500 + 500 * 10)


def test_the_table_marks_the_fastest(inside: Command) -> None:
    done = inside("bench", MODEL, "--seconds", "0.06", "--engine", SLOWER, "--engine", SETUP)
    assert done.returncode == 0, done.stderr
    marked = [line for line in done.stdout.splitlines() if "fastest" in line]
    assert len(marked) == 1
    assert SETUP in marked[0]
    assert "MFLOP a vote" in done.stdout


@pytest.mark.parametrize(
    ("setups", "code", "complaint"),
    [
        (["fast"], 2, "'fast' is not an engine"),
        (["cpu:cuda-graph/1-threads:float32:8"], 2, "has no cuda-graph"),
        ([FAILS, SETUP], 2, "one device"),
    ],
)
def test_an_impossible_engine_exits_with_2(
    inside: Command, setups: list[str], code: int, complaint: str
) -> None:
    done = inside("bench", MODEL, *(word for one in setups for word in ("--engine", one)))
    assert done.returncode == code
    assert complaint in done.stderr
    assert done.stdout == ""


def test_a_failed_config_keeps_its_reason() -> None:
    ran, failed = (EngineConfig.parse(text) for text in (SETUP, SLOWER))
    tuning = Tuning((Trial(ran, 1000.0, 0.5), Trial(failed, None, 0.1, "RuntimeError: out of luck")))
    measured = Bench(MODEL, "lenet", "cpu", 2_000_000, {"float32": 1e11}, tuning, default=ran)
    first, second = measured.document["setups"]
    assert first["share_of_matrix_rate"] == pytest.approx(0.02)
    assert second["error"] == "RuntimeError: out of luck"
    assert second["votes_per_second"] is second["seconds_per_certificate"] is second["share_of_matrix_rate"]


def test_an_engine_of_another_machine_fails_with_its_reason(inside: Command) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = inside("bench", MODEL, "--engine", FAILS, "--seconds", "0.03")
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
