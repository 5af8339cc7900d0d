"""`ConvPool` for grey images: the same function on blocks of 2x2 pixels, which keep a CPU's kernels busy.

oneDNN takes as long for one channel as for many. Here each 2x2 block of pixels becomes a point of four
channels, and the kernel, moved to each of the four places of a pooling window, four kernels of half the side:
four convolutions of a fair shape, which are the contestants of `training/pooling.py`.

Legend as there; k the kernel's side (odd), h = (k+1)/2 its side in blocks; y, x: blocks.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.pooling import (
    PLACES,
    bias_gradient,
    computed_in,
    contest,
    convolution_backward,
    deal,
    through_relu,
)

PAIR = {  # as wide as two of
    torch.bfloat16: torch.int32,
    torch.float16: torch.int32,
    torch.float32: torch.int64,
    torch.float64: torch.complex128,
}


class GreyConvPool(torch.autograd.Function):
    """relu(max_pool2d(conv2d(images, weight, bias), 2)), in autocast's type where that is on.

    images: (B, 1, H, W), both sides even; weight: (O, 1, k, k), k odd; bias: (O,). Gives (B, O, Y, X). Where
    several values of a window are equally large, the first of them takes the gradient.
    """

    @staticmethod
    def forward(ctx: Any, images_B1HW: Tensor, weight_O1kk: Tensor, bias_O: Tensor) -> Tensor:
        dtype = computed_in(images_B1HW)
        blocks_B4yx = _blocks(images_B1HW.to(dtype))
        kernels, bias_O = _at_each_place(weight_O1kk.to(dtype)), bias_O.to(dtype)
        pooled_BOYX, *won = contest(
            (functional.conv2d(blocks_B4yx, kernel_O4hh, bias_O) for kernel_O4hh in kernels), dtype
        )
        ctx.save_for_backward(blocks_B4yx, pooled_BOYX, *won, *kernels)
        ctx.side = weight_O1kk.shape[-1]
        return pooled_BOYX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BOYX: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        blocks_B4yx, pooled_BOYX, *rest = ctx.saved_tensors
        won, kernels, asked = rest[:3], rest[3:], ctx.needs_input_grad
        gradient_BOYX = through_relu(gradient_BOYX, pooled_BOYX)
        bias = bias_gradient(gradient_BOYX, asked)
        sent = [
            convolution_backward(values_BOYX, blocks_B4yx, kernel_O4hh, asked)
            for values_BOYX, kernel_O4hh in zip(deal(gradient_BOYX, won), kernels, strict=True)
        ]
        blocks, pieces = ([one for one in ones if one is not None] for ones in zip(*sent, strict=True))
        return (
            functional.pixel_shuffle(_sum(blocks), 2) if blocks else None,
            _from_each_place(pieces, ctx.side) if pieces else None,
            bias,
        )


def takes(conv: nn.Conv2d, shape: Sequence[int]) -> bool:
    """Whether it can stand for a convolution, without groups, of images of this shape (B, C, H, W)."""
    batch, channels, height, width = shape
    rows, columns = conv.kernel_size
    simple = (channels, conv.stride, conv.padding) == (1, (1, 1), (0, 0)) and rows == columns
    return simple and rows % 2 == 1 and height % 2 == width % 2 == 0 and batch > 0


def _blocks(images_B1HW: Tensor) -> Tensor:
    """Each 2x2 block as a point of four channels, (B, 4, y, x): pixel_unshuffle, channels-last.

    Two neighbours in a row stay together, and are moved as one number twice as wide.
    """
    batch, _, height, _ = images_B1HW.shape
    pairs_BHx = images_B1HW.flatten(0, 1).contiguous().view(PAIR[images_B1HW.dtype])
    pairs_Byx2 = pairs_BHx.view(batch, height // 2, 2, -1).transpose(2, 3).contiguous()
    return pairs_Byx2.view(images_B1HW.dtype).movedim(-1, 1)


@lru_cache
def _positions(side: int) -> Tensor:
    """Which of a kernel's numbers stands where at each place, (4, h, h, 4): from 1 on, 0 outside of it."""
    numbers = torch.arange(1, side * side + 1, dtype=torch.float32).view(1, 1, side, side)
    moved = [functional.pad(numbers, (right, 1 - right, down, 1 - down)) for down, right in PLACES]
    return functional.pixel_unshuffle(torch.cat(moved), 2).movedim(1, -1).long()


@lru_cache
def _found(side: int) -> Tensor:
    """The inverse: where at each place each of the kernel's numbers stands, (4, k*k)."""
    return _positions(side).flatten(1).argsort()[:, -side * side :]


def _at_each_place(weight_O1kk: Tensor) -> Sequence[Tensor]:
    """The kernel at each place of a window, over blocks: (O, 4, h, h) each."""
    numbers = functional.pad(weight_O1kk.flatten(1), (1, 0))
    kernels_4Ohh4 = numbers[:, _positions(weight_O1kk.shape[-1])].movedim(1, 0).contiguous()
    return kernels_4Ohh4.movedim(-1, 2).unbind()


def _from_each_place(kernels: Sequence[Tensor], side: int) -> Tensor:
    """The gradient of `_at_each_place`, of shape (O, 1, k, k)."""
    stacked_O4n = torch.stack([kernel.movedim(1, -1).flatten(1) for kernel in kernels], 1)
    found_O4n = stacked_O4n.gather(2, _found(side).expand(len(stacked_O4n), -1, -1))
    return _wide(found_O4n).sum(1).view(-1, 1, side, side)


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    """Of the four places, in float32 or better."""
    first, second, third, fourth = map(_wide, tensors)
    return (first + second) + (third + fourth)


def _wide(tensor: Tensor) -> Tensor:
    """In float32 or better."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
