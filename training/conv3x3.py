"""3x3 convolutions of narrow networks on CUDA, several times as fast as cuDNN's at 16 channels.

cuDNN runs a CIFAR ResNet's first stage (16 channels) at a tenth of what the chip can do, and the weight
gradients of the second at a quarter (benchmarks/RESULTS.md). These kernels treat the convolution as nine
small matrix products over shifted pixels. Stride 1, padding 1, equal channels in and out (16 or 32),
bfloat16 in, float32 sums.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

NARROW = (16, 32)  # channels; at 64 cuDNN does well
PIXELS = 512  # a batch has a multiple of this many, so that every program is full


@dataclass(frozen=True)
class Tiling:
    """pixels: of one program; block: of one matrix product, a divisor of pixels; warps: of one program."""

    pixels: int
    block: int
    warps: int


FORWARD = {16: Tiling(256, 256, 8), 32: Tiling(256, 256, 8)}
GRADIENT = {16: Tiling(512, 32, 1), 32: Tiling(512, 32, 2)}


@triton.jit
def _convolve(
    x, w, y, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, FLIP: tl.constexpr, BLOCK: tl.constexpr
):
    """y = x * w over BLOCK pixels, all channels; FLIP: with w turned round, which is the input's gradient.

    x, y: (pixels, C); w: (out, 3, 3, in), float32.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = pixel % W
    row = (pixel // W) % H
    c = tl.arange(0, C)
    total = tl.zeros((BLOCK, C), tl.float32)
    for tap in tl.static_range(9):
        down = tap // 3 - 1
        across = tap % 3 - 1
        inside = (row + down >= 0) & (row + down < H) & (column + across >= 0) & (column + across < W)
        shifted = pixel + down * W + across
        a = tl.load(x + shifted[:, None] * C + c[None, :], mask=inside[:, None], other=0.0)
        if FLIP:  # rows of b are w's outputs, columns its inputs
            b = tl.load(w + c[:, None] * 9 * C + (8 - tap) * C + c[None, :])
        else:
            b = tl.load(w + c[None, :] * 9 * C + tap * C + c[:, None])
        total = tl.dot(a, b.to(a.dtype), total)
    tl.store(y + pixel[:, None] * C + c[None, :], total.to(y.dtype.element_ty))


@triton.jit
def _tap(
    x,
    g,
    pixel,
    row,
    column,
    c,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
):
    """(out, in) sums of one tap over these pixels: g transposed times x shifted."""
    inside = (row + DOWN >= 0) & (row + DOWN < H) & (column + ACROSS >= 0) & (column + ACROSS < W)
    shifted = pixel + DOWN * W + ACROSS
    a = tl.load(x + shifted[:, None] * C + c[None, :], mask=inside[:, None], other=0.0)
    return tl.dot(tl.trans(g), a)


@triton.jit
def _weigh(
    x,
    dy,
    dw,
    H: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
    DOWN: tl.constexpr,
):
    """Add to dw (out, 3, 3, in), float32, the gradient's row of taps DOWN over PIXELS pixels."""
    c = tl.arange(0, C)
    left = tl.zeros((C, C), tl.float32)
    middle = tl.zeros((C, C), tl.float32)
    right = tl.zeros((C, C), tl.float32)
    first = tl.program_id(0) * PIXELS
    for start in range(0, PIXELS, BLOCK):
        pixel = first + start + tl.arange(0, BLOCK)
        column = pixel % W
        row = (pixel // W) % H
        g = tl.load(dy + pixel[:, None] * C + c[None, :])
        left += _tap(x, g, pixel, row, column, c, DOWN, -1, H, W, C)
        middle += _tap(x, g, pixel, row, column, c, DOWN, 0, H, W, C)
        right += _tap(x, g, pixel, row, column, c, DOWN, 1, H, W, C)
    at = dw + c[:, None] * 9 * C + (DOWN + 1) * 3 * C + c[None, :]
    tl.atomic_add(at, left, sem="relaxed")
    tl.atomic_add(at + C, middle, sem="relaxed")
    tl.atomic_add(at + 2 * C, right, sem="relaxed")


@triton.jit
def _weigh_all(
    x, dy, dw, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr
):
    """The weight gradient of PIXELS pixels; the three rows of taps are three programs."""
    if tl.program_id(1) == 0:
        _weigh(x, dy, dw, H, W, C, PIXELS, BLOCK, -1)
    elif tl.program_id(1) == 1:
        _weigh(x, dy, dw, H, W, C, PIXELS, BLOCK, 0)
    else:
        _weigh(x, dy, dw, H, W, C, PIXELS, BLOCK, 1)


@torch.library.custom_op("smoothcert::conv3x3", mutates_args=())
def conv3x3(x: Tensor, weight: Tensor, flip: bool) -> Tensor:
    """x (B, C, H, W) bfloat16, weight (C, C, 3, 3) float32; flip: the input's gradient. Channels-last."""
    x, weight = _last(x), _last(weight)
    batch, channels, height, width = x.shape
    y, tiling = torch.empty_like(x), FORWARD[channels]
    _convolve[(batch * height * width // tiling.pixels,)](
        x, weight, y, height, width, channels, flip, tiling.block, num_warps=tiling.warps
    )
    return y


@conv3x3.register_fake
def _(x: Tensor, weight: Tensor, flip: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@torch.library.custom_op("smoothcert::conv3x3_weight", mutates_args=())
def conv3x3_weight(x: Tensor, dy: Tensor) -> Tensor:
    """The weight's gradient (C, C, 3, 3), float32, channels-last. Atomic sums: their order varies."""
    x, dy = _last(x), _last(dy)
    batch, channels, height, width = x.shape
    dw = torch.zeros(channels, 3, 3, channels, device=x.device)
    tiling = GRADIENT[channels]
    _weigh_all[(batch * height * width // tiling.pixels, 3)](
        x, dy, dw, height, width, channels, tiling.pixels, tiling.block, num_warps=tiling.warps
    )
    return dw.permute(0, 3, 1, 2)


@conv3x3_weight.register_fake
def _(x: Tensor, dy: Tensor) -> Tensor:
    channels = x.shape[1]
    return x.new_empty((channels, 3, 3, channels), dtype=torch.float32).permute(0, 3, 1, 2)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
    x, weight = ctx.saved_tensors
    return conv3x3(dy, weight, True), conv3x3_weight(x, dy), None


conv3x3.register_autograd(_backward, setup_context=_save)


def _last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


class NarrowConv2d(nn.Conv2d):
    """An nn.Conv2d whose forward uses these kernels; same parameters, same names."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        if pixels % PIXELS:  # a last, short batch
            return super().forward(x)
        y: Tensor = conv3x3(x.bfloat16(), self.weight, False)
        return y


def use_narrow_convolutions(network: nn.Module) -> None:
    """Turn every convolution these kernels can do into a NarrowConv2d, in place. bfloat16 on CUDA only."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _fits(module):
            module.__class__ = NarrowConv2d


def _fits(conv: nn.Conv2d) -> bool:
    return (
        conv.in_channels == conv.out_channels
        and conv.in_channels in NARROW
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and conv.bias is None
        and conv.groups == 1
    )
