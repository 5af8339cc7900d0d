import math

import pytest
import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.stability import Stability, stability_loss


def slow_softmax(row):
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def slow_stability(clean_BK, noisy_BK, labels, weight):
    """CE(F(x), y) + weight * CE(target F(x), F(x + delta)), image by image."""
    total = 0.0
    for clean_row, noisy_row, label in zip(
        clean_BK.tolist(), noisy_BK.tolist(), labels.tolist(), strict=True
    ):
        clean, noisy = slow_softmax(clean_row), slow_softmax(noisy_row)
        total -= math.log(clean[label])
        total -= weight * sum(c * math.log(n) for c, n in zip(clean, noisy, strict=True))
    return total / len(labels)


def test_the_loss_is_the_clean_cross_entropy_and_the_one_between_clean_and_noisy(problem):
    loss = problem.loss(Stability(sigma=0.5, weight=2.0))
    noisy = problem.logits(1, 0.5)[0]
    assert loss.item() == pytest.approx(
        slow_stability(problem.clean_logits(), noisy, problem.labels, 2.0), rel=1e-12
    )


def test_several_noises_are_averaged(problem):
    loss = problem.loss(Stability(sigma=0.5, num_noises=3, weight=2.0))
    clean, noisy = problem.clean_logits(), problem.logits(3, 0.5)
    each = [slow_stability(clean, copy, problem.labels, 2.0) for copy in noisy]
    assert loss.item() == pytest.approx(sum(each) / 3, rel=1e-12)


def test_the_gradient_flows_through_both_sides_and_agrees_with_finite_differences(random_logits, problem):
    def loss(logits):
        log_probs = logits.log_softmax(-1)
        return stability_loss(log_probs[:1], log_probs[1:], problem.labels, 2.0)

    assert torch.autograd.gradcheck(loss, random_logits.requires_grad_())


def test_batch_norm_sees_clean_and_noisy_images_apart_as_published(problem):
    torch.manual_seed(5)
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4)).double()
    method, progress = Stability(sigma=0.5, weight=2.0), TrainingProgress(torch.tensor(0.0), 31.0)
    args = problem.images, problem.labels, progress
    loss = method.loss(network, *args, torch.Generator().manual_seed(3))
    assert network[0].num_batches_tracked == 2
    noisy = repeat_with_noise(problem.images, 1, 0.5, torch.Generator().manual_seed(3))
    clean_BK, noisy_BK = network(problem.images), network(noisy)  # each normalised by its own statistics
    assert loss.item() == pytest.approx(slow_stability(clean_BK, noisy_BK, problem.labels, 2.0), rel=1e-12)


def test_a_negative_weight_is_refused():
    with pytest.raises(InvalidRequest, match="weight must be at least 0"):
        Stability(sigma=0.5, weight=-1.0)
