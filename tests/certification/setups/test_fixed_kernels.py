import pytest
import torch

from certification.setups.cuda import fixed_kernels


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
