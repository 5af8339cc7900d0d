"""What speed is held against: operations that can be counted by hand."""

import pytest
import torch
from torch import nn

from smoothcert.engines import matmul_rate


def test_operations_of_a_vote_are_two_for_each_multiply_add() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10 * 10, 6)).train()
    by_hand = 2 * (3 * 3 * 3 * 8 * 10 * 10 + 8 * 10 * 10 * 6)
    assert matmul_rate.flop_per_vote(network, (3, 12, 12)) == by_hand


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_machines_rate_is_measured_with_all_processors_and_threads_are_given_back(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setitem(matmul_rate._SIDE, "cpu", 64)
    threads = torch.get_num_threads()
    rate = matmul_rate.peak_matmul_rate("cpu", precision, seconds=0.01)  # type: ignore[arg-type]
    assert 1e6 < rate < 1e15
    assert torch.get_num_threads() == threads
