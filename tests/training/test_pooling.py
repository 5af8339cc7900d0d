from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.pooling import WHOLE, ConvPool, contest, deal, laid_out, through_relu

TYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


def pooled(values: Tensor) -> Tensor:
    return functional.relu(functional.max_pool2d(values, 2))


def places(values: Tensor) -> list[Tensor]:
    return [values[:, :, down::2, right::2].contiguous() for down in (0, 1) for right in (0, 1)]


def assert_same_gradients(found: Tensor, wanted: Tensor, inputs: Sequence[Tensor]) -> None:
    gradient = torch.randn_like(wanted)
    ours, theirs = (torch.autograd.grad(one, inputs, gradient) for one in (found, wanted))
    torch.testing.assert_close(ours, theirs)


def any_bits(dtype: torch.dtype, *shape: int) -> Tensor:
    """Numbers of every size that the type has, ties, zeros and infinities among them; no NaN."""
    whole = WHOLE[dtype]
    limits = torch.iinfo(whole)
    values = torch.randint(limits.min, limits.max, shape, dtype=whole).view(dtype)
    values[0, 0] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf]).to(dtype).repeat(8)
    values[1] = torch.randint(-2, 3, values[1].shape).to(dtype)
    return values.nan_to_num(0, torch.inf, -torch.inf)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_contest_is_pooling_to_the_last_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = any_bits(dtype, 3, 5, 32, 32)
    found, *_ = contest(places(values), dtype)
    assert torch.equal(found, pooled(values))
    assert not torch.signbit(found).any()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_gradient_goes_to_the_first_of_the_largest_alone(dtype: torch.dtype) -> None:
    """Not to several: sums over ties would make the step too long."""
    torch.manual_seed(0)
    values, gradient = any_bits(dtype, 3, 5, 32, 32), torch.randn(3, 5, 16, 16).to(dtype)
    found, *won = contest(places(values), dtype)
    dealt = list(deal(through_relu(gradient, found), won))
    watched = values.clone().requires_grad_()
    pooled(watched).backward(gradient)
    assert watched.grad is not None
    assert all(torch.equal(*pair) for pair in zip(dealt, places(watched.grad), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_what_layers_in_that_type_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True) for shape in ((4, 3, 13, 12), (6, 3, 3, 3), (6,))]
    with torch.autocast("cpu", dtype):
        found = ConvPool.apply(*inputs, ((1, 1), (0, 0)))
        # Of the same layout: without float16 of its own a processor sums in another order in another one.
        wanted = pooled(functional.conv2d(laid_out(inputs[0]), *inputs[1:]))
    assert found.dtype == dtype
    assert torch.equal(found, wanted)
    gradient = torch.randn_like(wanted)
    ours, theirs = (torch.autograd.grad(one, inputs, gradient) for one in (found, wanted))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            mine, other, rtol=0, atol=float(other.abs().max()) * torch.finfo(dtype).eps
        )


@pytest.mark.parametrize("sides", [(12, 12), (13, 12), (12, 9), (4, 4)])
@pytest.mark.parametrize("window", [((1, 1), (0, 0)), ((2, 1), (1, 2)), ((1, 1), (1, 1))])
def test_it_is_convolution_pooling_and_relu_of_any_size(
    sides: tuple[int, int], window: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """Also where a window's edge leaves a row or a column over."""
    torch.manual_seed(0)
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3, *sides), (6, 3, 3, 3), (6,))
    ]
    stride, padding = window
    wanted = pooled(functional.conv2d(*inputs, stride=stride, padding=padding))
    found = ConvPool.apply(*inputs, window)
    torch.testing.assert_close(found, wanted)
    assert_same_gradients(found, wanted, inputs)


@pytest.mark.parametrize("asked", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_asked_for_are_worked_out(asked: tuple[bool, ...]) -> None:
    shapes = ((2, 3, 8, 8), (4, 3, 3, 3), (4,))
    inputs = [torch.randn(shape, requires_grad=one) for shape, one in zip(shapes, asked, strict=True)]
    ConvPool.apply(*inputs, ((1, 1), (0, 0))).sum().backward()
    assert tuple(one.grad is not None for one in inputs) == asked
