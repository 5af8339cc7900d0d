import math
from statistics import NormalDist

import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.methods.base import TrainingProgress
from training.methods.macer import Macer, clamped_quantile, robust_loss

quantile = NormalDist().inv_cdf


def slow_softmax(row):
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def mean_softmax(rows):
    probs = [slow_softmax(row) for row in rows]
    return [sum(column) / len(probs) for column in zip(*probs, strict=True)]


def slow_hinge(rows, label, beta, gamma):
    """gamma - (quantile(p1) - quantile(p2)) of one image, where it is positive and the class is right."""
    shares = mean_softmax([[beta * z for z in row] for row in rows])
    if max(range(len(shares)), key=shares.__getitem__) != label:
        return 0.0
    first, second = sorted(shares, reverse=True)[:2]
    return max(0.0, gamma - (quantile(first) - quantile(second)))


def slow_loss(logits_mBK, labels, macer):
    total = 0.0
    for image, label in enumerate(labels.tolist()):
        rows = logits_mBK[:, image].tolist()
        hinge = slow_hinge(rows, label, macer.beta, macer.gamma)
        total += -math.log(mean_softmax(rows)[label]) + macer.weight * macer.sigma / 2 * hinge
    return total / len(labels)


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 8.0), (3.0, 8.0), (3.0, 2.0)])
def test_the_loss_equals_its_formula_image_by_image(problem, beta, gamma):
    macer = Macer(sigma=0.5, num_noises=4, beta=beta, gamma=gamma)
    logits = problem.logits(4, 0.5)
    labels = logits.softmax(-1).mean(0).argmax(-1)
    labels[0] = (labels[0] + 1) % 4  # one image is wrong, the others right
    problem.labels.copy_(labels)
    assert problem.loss(macer).item() == pytest.approx(slow_loss(logits, labels, macer), rel=1e-10)
    assert problem.loss(macer) > problem.loss(Macer(sigma=0.5, num_noises=4, weight=0.0))


def test_the_gradient_agrees_with_finite_differences(random_logits):
    labels = random_logits.softmax(-1).mean(0).argmax(-1)
    labels[0] = (labels[0] + 1) % 4

    def loss(logits):
        return robust_loss(logits.log_softmax(-1), labels, beta=1.5, gamma=8.0)

    assert torch.autograd.gradcheck(loss, random_logits.requires_grad_())


def test_with_no_correct_image_the_robust_term_and_its_gradient_are_zero(random_logits):
    wrong = (random_logits.softmax(-1).mean(0).argmax(-1) + 1) % 4
    logits = random_logits.requires_grad_()
    loss = robust_loss(logits.log_softmax(-1), wrong, beta=1.0, gamma=8.0)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_quantile_and_its_gradient_are_finite_on_the_whole_closed_interval(dtype):
    shares = torch.tensor([0.0, 1e-30, 1e-7, 0.5, 1 - 1e-7, 1.0], dtype=dtype, requires_grad=True)
    values = clamped_quantile(shares)
    values.sum().backward()
    assert values.isfinite().all()
    assert shares.grad.isfinite().all()
    assert values[3] == 0
    assert values[-1].item() == pytest.approx(5.18, abs=0.03)  # float32 has no 1 - 1e-7


@pytest.mark.parametrize("certain", [200.0, -200.0])
def test_certain_answers_right_or_wrong_leave_no_nan_in_the_gradient(certain):
    logits = torch.tensor([[[certain, 0.0, 0.0]]], requires_grad=True)
    loss = robust_loss(logits.log_softmax(-1), torch.tensor([0]), beta=16.0, gamma=8.0)
    loss.backward()
    assert loss.item() == 0  # beyond the margin, or wrong
    assert logits.grad.isfinite().all()


def at(epoch):
    return TrainingProgress(torch.tensor(epoch), first_drop=31.0)


def test_the_robust_term_waits_for_the_first_drop_of_the_learning_rate(problem):
    problem.labels.copy_(problem.logits(16, 0.5).softmax(-1).mean(0).argmax(-1))
    macer, natural = Macer(sigma=0.5), Macer(sigma=0.5, weight=0.0)
    assert problem.loss(macer, at(30.9)) == problem.loss(natural, at(30.9))
    assert problem.loss(macer, at(31.0)) > problem.loss(natural, at(31.0))
    assert problem.loss(Macer(sigma=0.5, deferred=False), at(0.0)) == problem.loss(macer, at(31.0))


@pytest.mark.parametrize("option", ["gamma", "beta"])
def test_a_margin_or_scale_of_zero_is_refused(option):
    with pytest.raises(InvalidRequest, match=f"{option} must be a number above 0"):
        Macer(sigma=0.5, **{option: 0.0})
