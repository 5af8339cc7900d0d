"""Convolution, 2x2 max pooling and ReLU of grey images in one, for training on a CPU.

oneDNN takes as long for one channel as for many, and pooling then walks over four values for each that it
keeps. Here each 2x2 block of pixels becomes a point of four channels, and the kernel, moved to each of the
four places of a pooling window, four kernels of half the side: four convolutions of a fair shape, the largest
of whose values is the pooled one. Every tensor is contiguous, which is what makes the rest quick.

Legend: B images, O output channels, k the kernel's side (odd), h = (k+1)/2 its side in blocks; y, x: blocks;
Y, X: pooled sides. The four places of a window are in the order of `PLACES`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # (down, right) within a 2x2 window


class GreyConvPool(torch.autograd.Function):
    """relu(max_pool2d(conv2d(images, weight, bias), 2)), in autocast's type where that is on.

    images: (B, 1, H, W), both sides even; weight: (O, 1, k, k), k odd; bias: (O,). Gives (B, O, Y, X). Where
    several values of a window are equally large, one of them takes the gradient, not always the first.
    """

    @staticmethod
    def forward(ctx: Any, images_B1HW: Tensor, weight_O1kk: Tensor, bias_O: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images_B1HW.dtype
        blocks_B4yx = _laid_out(functional.pixel_unshuffle(images_B1HW.to(dtype), 2))
        kernels = [_laid_out(kernel) for kernel in _at_each_place(weight_O1kk.to(dtype))]
        bias_O = bias_O.to(dtype)
        values = [functional.conv2d(blocks_B4yx, kernel_O4hh, bias_O) for kernel_O4hh in kernels]
        upper, lower = torch.maximum(values[0], values[1]), torch.maximum(values[2], values[3])
        pooled_BOYX = torch.maximum(upper, lower).relu_()
        leads = (values[0] - values[1], values[2] - values[3], upper - lower)
        ctx.save_for_backward(blocks_B4yx, pooled_BOYX, *leads, *kernels)
        ctx.side = weight_O1kk.shape[-1]
        return pooled_BOYX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BOYX: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        blocks_B4yx, pooled_BOYX, *leads, k0, k1, k2, k3 = ctx.saved_tensors
        pixels, weight, bias = ctx.needs_input_grad
        gradient_BOYX = _where(gradient_BOYX, pooled_BOYX)
        sent = [
            torch.ops.aten.convolution_backward(
                *(values_BOYX, blocks_B4yx, kernel_O4hh, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
                [pixels, weight, False],
            )
            for values_BOYX, kernel_O4hh in zip(_dealt(gradient_BOYX, *leads), (k0, k1, k2, k3), strict=True)
        ]
        return (
            functional.pixel_shuffle(_sum([blocks for blocks, _, _ in sent]), 2) if pixels else None,
            _from_each_place([kernel for _, kernel, _ in sent], ctx.side) if weight else None,
            _wide(gradient_BOYX.movedim(1, -1).flatten(0, -2).sum(0)) if bias else None,
        )


def takes(conv: nn.Conv2d, shape: Sequence[int]) -> bool:
    """Whether it can stand for a convolution, without groups, of images of this shape (B, C, H, W)."""
    batch, channels, height, width = shape
    rows, columns = conv.kernel_size
    simple = (channels, conv.stride, conv.padding) == (1, (1, 1), (0, 0)) and rows == columns
    return simple and rows % 2 == 1 and height % 2 == width % 2 == 0 and batch > 0


def _where(gradient: Tensor, positive: Tensor) -> Tensor:
    """The gradient where the other is positive, else 0: faster on a CPU than torch.where."""
    kept: Tensor = torch.ops.aten.threshold_backward(gradient, positive, 0)
    return kept


def _dealt(gradient: Tensor, left_above: Tensor, left_below: Tensor, above: Tensor) -> tuple[Tensor, ...]:
    """What the four places of each window get: all of it goes to the one whose leads are positive."""
    upper = _where(gradient, above)
    lower = gradient - upper
    first, third = _where(upper, left_above), _where(lower, left_below)
    return first, upper - first, third, lower - third


def _at_each_place(weight_O1kk: Tensor) -> list[Tensor]:
    """The kernel at each place of a window, over blocks: (O, 4, h, h) each."""
    return [
        functional.pixel_unshuffle(functional.pad(weight_O1kk, (right, 1 - right, down, 1 - down)), 2)
        for down, right in PLACES
    ]


def _from_each_place(kernels: list[Tensor], side: int) -> Tensor:
    """The gradient of `_at_each_place`, of shape (O, 1, k, k)."""
    padded = [functional.pixel_shuffle(kernel_O4hh, 2) for kernel_O4hh in kernels]
    return _sum(
        [
            kernel[..., down : down + side, right : right + side]
            for (down, right), kernel in zip(PLACES, padded, strict=True)
        ]
    )


def _sum(tensors: list[Tensor]) -> Tensor:
    """Of the four places, in float32 or better."""
    first, second, third, fourth = map(_wide, tensors)
    return (first + second) + (third + fourth)


def _wide(tensor: Tensor) -> Tensor:
    """In float32 or better."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _laid_out(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
