"""Denoised smoothing: the losses by their formulas, and what they leave alone."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import DnCNN
from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.denoiser import Denoiser

STEP = 1e-6
PROGRESS = TrainingProgress(torch.tensor(0.0), 31.0)


@dataclass(frozen=True)
class Pair:
    denoiser: nn.Module
    classifier: nn.Module
    images: Tensor

    def loss(self, method: Denoiser) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        labels_B = torch.full((len(self.images),), -1)  # not used
        return method.loss(
            self.denoiser, self.images, labels_B, PROGRESS, generator, classifier=self.classifier
        )


@pytest.fixture
def pair(problem) -> Pair:
    torch.manual_seed(5)
    denoiser = DnCNN(depth=3, channels=4, image_channels=2).double()
    nn.init.normal_(denoiser.dncnn[-1].weight, std=0.3)
    return Pair(denoiser, problem.network.requires_grad_(False), problem.images)


def noisy_copies(pair: Pair, method: Denoiser) -> Tensor:
    return repeat_with_noise(pair.images, method.num_noises, method.sigma, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("num_noises", [1, 3])
def test_mse_is_the_mean_square_of_what_is_left_of_the_noise(pair, num_noises):
    method = Denoiser(sigma=0.5, num_noises=num_noises)
    loss = pair.loss(method)
    denoised_NCHW = pair.denoiser(noisy_copies(pair, method)).detach()
    squares = [
        (value - pixel) ** 2
        for copy in denoised_NCHW.unflatten(0, (num_noises, -1))
        for value, pixel in zip(copy.flatten().tolist(), pair.images.flatten().tolist(), strict=True)
    ]
    assert loss.item() == pytest.approx(sum(squares) / len(squares), rel=1e-12)


@pytest.mark.parametrize("num_noises", [1, 3])
def test_stability_is_the_cross_entropy_with_the_class_of_the_clean_image(pair, num_noises):
    method = Denoiser(sigma=0.5, num_noises=num_noises, form="stability")
    loss = pair.loss(method)
    logits_NK = pair.classifier(pair.denoiser(noisy_copies(pair, method))).detach()
    targets = [int(pair.classifier(image[None])[0].argmax()) for image in pair.images] * num_noises
    terms = [
        math.log(sum(math.exp(z) for z in row)) - row[target]
        for row, target in zip(logits_NK.tolist(), targets, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


@pytest.mark.parametrize("form", ["mse", "stability"])
def test_the_gradient_agrees_with_finite_differences(pair, form):
    method = Denoiser(sigma=0.5, num_noises=2, form=form)
    pair.loss(method).backward()
    generator = torch.Generator().manual_seed(8)
    parameters = list(pair.denoiser.parameters())
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((p.grad * along).sum() for p, along in zip(parameters, direction, strict=True)).item()
    losses = []
    for length in (STEP, -2 * STEP):
        with torch.no_grad():
            for parameter, along in zip(parameters, direction, strict=True):
                parameter.add_(along, alpha=length)
        losses.append(pair.loss(method).item())
    assert (losses[0] - losses[1]) / (2 * STEP) == pytest.approx(slope, rel=1e-5)
    assert abs(slope) > 1e-3


@pytest.mark.parametrize("form", ["mse", "stability"])
def test_only_the_denoiser_gets_gradients(pair, form):
    pair.loss(Denoiser(sigma=0.5, form=form)).backward()
    assert all(parameter.grad is not None for parameter in pair.denoiser.parameters())
    assert all(parameter.grad is None for parameter in pair.classifier.parameters())


@pytest.mark.parametrize("form", ["mse", "stability"])
def test_a_few_steps_lower_the_loss(form):
    torch.manual_seed(0)
    images = 0.2 * torch.rand(32, 1, 6, 6) + 0.6 * (torch.arange(32) % 2).view(-1, 1, 1, 1)
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():  # bright or dark
        classifier[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 36) / 3)
        classifier[1].bias.copy_(torch.tensor([1.0, -1.0]) * 36 * 0.4 / 3)
    pair = Pair(DnCNN(4, 8, 1), classifier.requires_grad_(False), images)
    optimizer = torch.optim.Adam(pair.denoiser.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = pair.loss(Denoiser(sigma=0.5, form=form))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_low_precision_is_widened_before_the_loss(pair):
    low = Pair(pair.denoiser.bfloat16(), pair.classifier.bfloat16(), pair.images.bfloat16())
    assert {low.loss(Denoiser(sigma=0.5, form=form)).dtype for form in ("mse", "stability")} == {
        torch.float32
    }


@pytest.mark.parametrize("form", ["mse", "stability"])
def test_no_loss_depends_on_tensor_values_for_control_flow(form):
    with torch.device("meta"):
        pair = Pair(DnCNN(3, 4, 1), nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), torch.empty(8, 1, 6, 6))
        progress = TrainingProgress(torch.empty(()), 31.0)
        labels_B = torch.empty(8, dtype=torch.int64)
    method = Denoiser(sigma=0.25, form=form)
    loss = method.loss(pair.denoiser, pair.images, labels_B, progress, None, classifier=pair.classifier)
    loss.backward()
    assert loss.shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "l1"}, "loss must be one of mse, stability"),
        ({"depth": 1}, "depth must be at least 2"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"depth": 33}, "depth 32 and 256 channels at most"),
        ({"channels": 257}, "depth 32 and 256 channels at most"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InvalidRequest, match=message):
        Denoiser(sigma=0.5, **options)
