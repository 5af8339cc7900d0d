"""The narrow convolutions compute what PyTorch's do, in Triton's interpreter or compiled on a GPU."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

triton = pytest.importorskip("triton", reason="needs Triton, which PyTorch for CUDA brings")

INTERPRETED = """
import torch
from torch.nn import functional
from training.conv3x3 import conv3x3
torch.manual_seed(0)
for channels in (16, 32):
    x = torch.randn(8, channels, 8, 8).requires_grad_()
    w = (torch.randn(channels, channels, 3, 3) * 0.1).requires_grad_()
    y, expected = conv3x3(x, w, False), functional.conv2d(x, w, padding=1)
    dy = torch.randn_like(expected)
    gradients = torch.autograd.grad(y, (x, w), dy), torch.autograd.grad(expected, (x, w), dy)
    for ours, theirs in [(y, expected), *zip(*gradients)]:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
"""


def test_forward_and_both_gradients_equal_the_library_s() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_only_convolutions_that_fit_are_replaced() -> None:
    from training.conv3x3 import NarrowConv2d, use_narrow_convolutions

    fits = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    wide = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    strided = nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False)
    network = nn.Sequential(fits, wide, strided)
    names = list(network.state_dict())
    use_narrow_convolutions(network)
    assert [isinstance(layer, NarrowConv2d) for layer in network] == [True, False, False]
    assert list(network.state_dict()) == names


def test_a_short_batch_falls_back_to_the_library() -> None:
    from training.conv3x3 import use_narrow_convolutions

    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    x = torch.rand(1, 16, 5, 5)
    expected = layer(x)
    use_narrow_convolutions(nn.Sequential(layer))
    assert torch.equal(layer(x), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [16, 32])
def test_compiled_kernels_are_within_bfloat16_of_float32(channels: int) -> None:
    from training.conv3x3 import conv3x3

    torch.manual_seed(0)
    x = torch.randn(64, channels, 16, 16, device="cuda").bfloat16()
    w = torch.randn(channels, channels, 3, 3, device="cuda") * 0.1
    expected = functional.conv2d(x.float(), w.bfloat16().float(), padding=1)
    error = (conv3x3(x, w, False).float() - expected).norm() / expected.norm()
    assert error < 5e-3
