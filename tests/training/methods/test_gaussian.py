import math

import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.methods.base import TrainingProgress, mean_cross_entropy
from training.methods.gaussian import Gaussian, Standard


def slow_cross_entropy(logits_mBK, labels):
    """Mean of -log softmax(logits)_y over noises and images, one number at a time."""
    terms = []
    for copy in logits_mBK.tolist():
        for row, label in zip(copy, labels.tolist(), strict=True):
            terms.append(math.log(sum(math.exp(z) for z in row)) - row[label])
    return sum(terms) / len(terms)


@pytest.mark.parametrize("num_noises", [1, 3])
def test_the_loss_is_the_mean_cross_entropy_over_noises_and_images(problem, num_noises):
    loss = problem.loss(Gaussian(sigma=0.5, num_noises=num_noises))
    expected = slow_cross_entropy(problem.logits(num_noises, 0.5), problem.labels)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_agrees_with_finite_differences(random_logits, problem):
    def loss(logits):
        return mean_cross_entropy(logits.log_softmax(-1), problem.labels)

    assert torch.autograd.gradcheck(loss, random_logits.requires_grad_())


def test_low_precision_logits_are_widened_before_the_loss(problem):
    problem.network.bfloat16()
    progress = TrainingProgress(torch.tensor(0.0), 31.0)
    loss = Gaussian(sigma=0.5).loss(
        problem.network, problem.images.bfloat16(), problem.labels, progress, None
    )
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("sigma", "num_noises"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (0.5, 0)]
)
def test_options_out_of_range_are_refused(sigma, num_noises):
    with pytest.raises(InvalidRequest, match="must be"):
        Gaussian(sigma=sigma, num_noises=num_noises)


def test_the_loss_is_the_cross_entropy_of_the_images_as_they_are(problem):
    loss = problem.loss(Standard(sigma=0.5))
    logits_BK = problem.clean_logits()
    rows = zip(logits_BK, problem.labels.tolist(), strict=True)
    slow = [torch.logsumexp(row, 0).item() - row[label].item() for row, label in rows]
    assert loss.item() == pytest.approx(sum(slow) / len(slow), rel=1e-12)
    assert problem.loss(Standard(sigma=1.0)).item() == loss.item()


def test_several_noises_are_refused():
    with pytest.raises(InvalidRequest, match="draws no noise"):
        Standard(sigma=0.5, num_noises=2)
