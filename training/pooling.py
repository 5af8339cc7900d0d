"""Convolution, 2x2 max pooling and ReLU in one, for training on a CPU: pooling is a contest of four tensors.

The four places of a pooling window are four tensors. After ReLU floats lie in the order of their bits, so the
largest is found among integers, which a CPU compares several times as fast as bfloat16; and in place: where
the values were, it then says who has won. The bias' gradient is summed over a quarter of the pixels, which
for LeNet saves as much as that of the weights costs.

NaNs count as what their bits are: the usual one, negative, as 0. So the trainer asks the network itself
after each epoch whether it has diverged (`training/divergence.py`).

Legend: B images, O output channels, H, W: sides before pooling; Y, X: after. A window's places are in the
order of `PLACES`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # (down, right) within a 2x2 window
WHOLE = {  # whole numbers as wide as
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
Window = tuple[tuple[int, ...], tuple[int, ...]]


class ConvPool(torch.autograd.Function):
    """relu(max_pool2d(conv2d(images, weight, bias, *window), 2)), in autocast's type where that is on.

    images: (B, C, H', W'); window: stride and padding. Gives (B, O, Y, X), laid out channels-last. Where
    several values of a window are equally large, the first of them takes the gradient.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias_O: Tensor, window: Window) -> Tensor:
        dtype = computed_in(images)
        images, weight = laid_out(images.to(dtype)), weight.to(dtype)
        pixels_BOHW = functional.conv2d(images, weight, bias_O.to(dtype), *window)
        pooled_BOYX, *won = contest((laid_out(place) for place in _places(pixels_BOHW)), dtype)
        ctx.save_for_backward(images, weight, pooled_BOYX, *won)
        ctx.shape, ctx.window = pixels_BOHW.shape, window
        return pooled_BOYX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BOYX: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, pooled_BOYX, *won = ctx.saved_tensors
        asked = ctx.needs_input_grad
        gradient_BOYX = through_relu(gradient_BOYX, pooled_BOYX)
        bias = bias_gradient(gradient_BOYX, asked)
        pixels_BOHW = torch.empty(ctx.shape, dtype=gradient_BOYX.dtype, memory_format=torch.channels_last)
        if any(side % 2 for side in ctx.shape[-2:]):
            pixels_BOHW.zero_()  # no window has the last row or column of odd sides
        for place, values in zip(_places(pixels_BOHW), deal(gradient_BOYX, won), strict=True):
            place.copy_(values)
        sent, kernel = convolution_backward(pixels_BOHW, images, weight, asked, ctx.window)
        return sent, kernel, bias, None


def contest(places_BOYX: Iterable[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """relu of the largest of the four, (B, O, Y, X) each; then who has won, for `deal`.

    In place of the four, which are contiguous. Each is taken when its turn comes, while the one before is in
    the processor's cache; `deal` gives them likewise.
    """
    ordered = (place.view(WHOLE[dtype]).clamp_min_(0) for place in places_BOYX)
    first, second = next(ordered), next(ordered)
    _duel(first, second)
    third, fourth = next(ordered), next(ordered)
    _duel(third, fourth)
    _duel(second, fourth)
    return fourth.view(dtype), first, third, second


def deal(gradient_BOYX: Tensor, won: Sequence[Tensor]) -> Iterator[Tensor]:
    """What each of the four places gets: the gradient of the largest where it was that, else 0.

    Uses `gradient_BOYX` up.
    """
    left_above, left_below, above = won
    upper, lower = _split(gradient_BOYX.view(above.dtype), above)
    for half, left in ((upper, left_above), (lower, left_below)):
        yield from (place.view(gradient_BOYX.dtype) for place in _split(half, left))


def through_relu(gradient_BOYX: Tensor, output_BOYX: Tensor) -> Tensor:
    """The gradient where relu's output is positive, else 0; new, of the output's shape and type."""
    dtype = output_BOYX.dtype
    gradient = laid_out(gradient_BOYX.to(dtype)).view(WHOLE[dtype])
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, output_BOYX.view(WHOLE[dtype]), 0)
    return passed.view(dtype)


def convolution_backward(
    gradient_BOHW: Tensor,
    images_BCHW: Tensor,
    weight_OCkk: Tensor,
    asked: Sequence[bool],
    window: Window = ((1, 1), (0, 0)),
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of images and weight, as far as asked for, of their shapes. window: stride, padding."""
    sent, kernel, _ = torch.ops.aten.convolution_backward(
        *(gradient_BOHW, images_BCHW, weight_OCkk, None, *window, (1, 1), False, (0, 0), 1),
        [*asked[:2], False],
    )
    return sent, kernel


def bias_gradient(gradient_BOYX: Tensor, asked: Sequence[bool]) -> Tensor | None:
    """Of what is added to all pixels of a channel, (O,)."""
    return gradient_BOYX.movedim(1, -1).flatten(0, -2).sum(0) if asked[2] else None


def computed_in(images_BCHW: Tensor) -> torch.dtype:
    """Autocast's type where that is on, else the images' own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images_BCHW.dtype


def laid_out(pixels_BCHW: Tensor) -> Tensor:
    """Contiguous with its channels last; the shape stays."""
    return pixels_BCHW.contiguous(memory_format=torch.channels_last)


def _places(pixels_BOHW: Tensor) -> list[Tensor]:
    """The values at each place of all windows, (B, O, Y, X) each, as views."""
    height, width = (side // 2 * 2 for side in pixels_BOHW.shape[-2:])
    return [pixels_BOHW[:, :, down:height:2, right:width:2] for down, right in PLACES]


def _duel(one: Tensor, other: Tensor) -> None:
    """`other` becomes the larger of both; `one` 0 where that was itself, else less.

    None is negative, or a difference might not fit into its type.
    """
    torch.maximum(one, other, out=other)
    one.sub_(other)


def _split(gradient: Tensor, won: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient where the first has won its duel, else 0; and, in its own place, the rest."""
    first: Tensor = torch.ops.aten.threshold_backward(gradient, won, -1)
    return first, gradient.sub_(first)  # exact: one of both is 0
