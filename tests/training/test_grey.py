import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.training.test_pooling import assert_same_gradients
from training.grey import GreyConvPool, _from_each_place, _sum, takes


def plainly(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.relu(functional.max_pool2d(functional.conv2d(images, weight, bias), 2))


def problem(dtype: torch.dtype, side: int = 5, shape: tuple[int, int] = (28, 28)) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    images = torch.rand(6, 1, *shape).to(dtype, memory_format=torch.channels_last)
    weight, bias = torch.randn(7, 1, side, side) / side, torch.randn(7) / 3
    return tuple(one.to(dtype).requires_grad_() for one in (images, weight, bias))


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(28, 28), (8, 12)])
def test_it_is_convolution_pooling_and_relu_with_their_gradients(side: int, shape: tuple[int, int]) -> None:
    inputs = problem(torch.float64, side, shape)
    wanted, found = plainly(*inputs), GreyConvPool.apply(*inputs)
    torch.testing.assert_close(found, wanted)
    assert_same_gradients(found, wanted, inputs)


def test_its_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in ((2, 1, 6, 8), (3, 1, 3, 3), (3,))]
    assert torch.autograd.gradcheck(GreyConvPool.apply, [one.requires_grad_() for one in inputs])


@pytest.mark.parametrize("asked", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_asked_for_are_worked_out(asked: tuple[bool, ...]) -> None:
    """Attacks ask for the pixels' alone, training for the others."""
    inputs = [
        one.detach().requires_grad_(wanted) for one, wanted in zip(problem(torch.float64), asked, strict=True)
    ]
    GreyConvPool.apply(*inputs).sum().backward()
    assert tuple(one.grad is not None for one in inputs) == asked


def test_where_a_window_is_flat_its_gradient_goes_to_one_pixel() -> None:
    """Not to several: sums over ties would make the step too long."""
    images = torch.ones(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(GreyConvPool.apply(images, weight, bias).sum(), images)
    assert sorted(gradient.flatten().tolist()) == [0.0] * 12 + [1.0] * 4
    assert [float(window.sum()) for window in functional.unfold(gradient, 2, stride=2)[0].T] == [1.0] * 4


def test_what_relu_cuts_off_sends_no_gradient() -> None:
    images, weight, _ = problem(torch.float64)
    bias = torch.full((7,), -100.0, dtype=torch.float64, requires_grad=True)
    GreyConvPool.apply(images, weight, bias).sum().backward()
    for one in (images, weight, bias):
        assert one.grad is not None
        assert not one.grad.any()


def test_in_bfloat16_it_is_off_by_rounding_only() -> None:
    images, weight, bias = problem(torch.float32)
    rounded = [one.detach().bfloat16().double().requires_grad_() for one in (images, weight, bias)]
    with torch.autocast("cpu", torch.bfloat16):
        found = GreyConvPool.apply(images, weight, bias)
    wanted = plainly(*rounded)
    assert found.dtype == torch.bfloat16
    assert float((found.double() - wanted).detach().abs().max()) < 2**-8 * float(wanted.detach().abs().max())
    found.backward(torch.ones_like(found))
    wanted.backward(torch.ones_like(wanted))
    for one, exact in zip((weight, bias), rounded[1:], strict=True):
        assert one.grad is not None
        assert exact.grad is not None
        # Rounded values tie where exact ones don't, so other pixels take the gradient of some windows.
        assert float((one.grad - exact.grad).abs().max()) < 0.02 * float(exact.grad.abs().max())
    assert images.grad is not None
    assert rounded[0].grad is not None
    assert float((images.grad - rounded[0].grad).norm()) < 0.1 * float(rounded[0].grad.norm())


def test_gradients_of_the_four_places_are_added_up_in_float32() -> None:
    """In bfloat16 1 + 2**-9 is 1."""
    large, small = torch.ones(2, 4, 3, 3).bfloat16(), torch.full((2, 4, 3, 3), 2**-9).bfloat16()
    places = [large, small, small, small]
    assert torch.equal(_sum(places), torch.full((2, 4, 3, 3), 1 + 3 * 2**-9))
    assert torch.equal(_from_each_place(places, 5), torch.full((2, 1, 5, 5), 1 + 3 * 2**-9))


GREY = (4, 1, 28, 28)


@pytest.mark.parametrize(
    ("conv", "shape", "taken"),
    [
        (nn.Conv2d(1, 2, 5), GREY, True),
        (nn.Conv2d(3, 2, 5), (4, 3, 28, 28), False),
        (nn.Conv2d(1, 2, 4), GREY, False),
        (nn.Conv2d(1, 2, (3, 5)), GREY, False),
        (nn.Conv2d(1, 2, 5, padding=2), GREY, False),
        (nn.Conv2d(1, 2, 5, stride=2), GREY, False),
        (nn.Conv2d(1, 2, 5), (4, 1, 27, 28), False),
        (nn.Conv2d(1, 2, 5), (4, 1, 28, 27), False),
        (nn.Conv2d(1, 2, 5), (0, 1, 28, 28), False),
    ],
)
def test_it_is_known_which_convolutions_it_takes(
    conv: nn.Conv2d, shape: tuple[int, ...], taken: bool
) -> None:
    assert takes(conv, shape) == taken
