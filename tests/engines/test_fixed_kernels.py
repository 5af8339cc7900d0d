import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.cuda import CudaSampler, CudaVoter, fixed_kernels
from smoothcert.votes import VoteRange


def state() -> tuple[bool, bool, bool, bool]:
    """TF32 in convolutions, TF32 in matrix products, kernels chosen by timing, deterministic kernels only."""
    cudnn = torch.backends.cudnn
    return cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_used_where_it_is_named_and_kernels_are_never_chosen_by_timing(tf32: bool) -> None:
    before = state()
    with fixed_kernels(tf32):
        assert state() == (tf32, tf32, False, True)
    assert state() == before


def test_the_process_keeps_its_own_settings_after_a_failure() -> None:
    before = state()
    with pytest.raises(RuntimeError, match="out of memory"), fixed_kernels(tf32=True):
        raise RuntimeError("out of memory")
    assert state() == before


def test_answers_of_a_failed_batch_are_never_returned(
    small_network: nn.Module, image_CHW: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EngineConfig.parse("cuda:eager/channels-last/folded:float32:64")
    voter = CudaVoter(
        small_network, (3, 12, 12), 6, config, device="cpu"
    )  # its arithmetic, without the device
    sampler, step = CudaSampler(voter, image_CHW, 0.5, 5), voter.step(0.5)
    first = VoteRange("estimation", 0, 64)
    expected = sampler.count(first)

    def breaks() -> None:
        step.classes_B.fill_(1)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(step, "run", breaks)
        with pytest.raises(RuntimeError, match="out of memory"):
            sampler.count(VoteRange("estimation", 64, 128))
    assert np.array_equal(sampler.count(first), expected)
