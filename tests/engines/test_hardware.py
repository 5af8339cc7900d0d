import math
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from smoothcert.engines import hardware


def group(folder: Path, limit: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{limit}\n")
    return folder


def test_a_containers_quota_is_the_smallest_on_the_way_up(tmp_path: Path) -> None:
    group(tmp_path / "pods", "200000 100000")
    assert hardware.cpu_quota(group(tmp_path / "pods" / "own", "max 100000")) == 2
    assert hardware.cpu_quota(group(tmp_path / "pods" / "small", "50000 100000")) == 0.5


def test_without_a_limit_there_is_no_quota(tmp_path: Path) -> None:
    assert hardware.cpu_quota(group(tmp_path, "max 100000")) == math.inf
    assert hardware.cpu_quota(tmp_path / "no" / "such" / "group") == math.inf


@pytest.mark.parametrize(("quota", "cpus"), [(math.inf, 4), (64.0, 4), (2.5, 2), (0.5, 1)])
def test_threads_are_for_the_processors_whose_time_is_ours(
    monkeypatch: pytest.MonkeyPatch, quota: float, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(hardware, "cpu_quota", lambda _: quota)
    assert hardware.usable_cpus() == cpus


def test_what_is_not_installed_has_no_version() -> None:
    assert hardware.package_version("no-such-package") == "none"
    assert hardware.package_version("numpy")[0].isdigit()


def test_a_system_without_linuxs_files_still_has_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert hardware.processor(hardware._cpuinfo()) == "unknown"
    assert hardware._own_group() == Path("/sys/fs/cgroup")
    assert hardware.usable_cpus() >= 1


def test_operations_of_a_vote_are_two_for_each_multiply_add() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10 * 10, 6)).train()
    by_hand = 2 * (3 * 3 * 3 * 8 * 10 * 10 + 8 * 10 * 10 * 6)
    assert hardware.flop_per_vote(network, (3, 12, 12)) == by_hand


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_machines_rate_is_measured_with_all_processors_and_threads_are_given_back(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setitem(hardware._SIDE, "cpu", 64)
    threads = torch.get_num_threads()
    rate = hardware.peak_matmul_rate("cpu", precision, seconds=0.01)  # type: ignore[arg-type]
    assert 1e6 < rate < 1e15
    assert torch.get_num_threads() == threads
