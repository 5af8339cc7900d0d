import math

import pytest
import torch
from torch import Tensor

from smoothcert.errors import InvalidRequest
from training.methods.consistency import FORMS, Consistency

WEIGHT, ENTROPY_WEIGHT = 7.0, 0.5


def slow_softmax(row):
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def slow_entropy(p):
    return -sum(x * math.log(x) for x in p)


def slow_kl(p, q):
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def slow_cross_entropy(p, q):
    return -sum(x * math.log(y) for x, y in zip(p, q, strict=True))


def slow_form(form, probs):
    """One image's regularizer from its m softmaxes, as the paper and its code write it."""
    mean = [sum(column) / len(probs) for column in zip(*probs, strict=True)]
    kl = sum(slow_kl(mean, p) for p in probs) / len(probs)
    if form == "xent":
        return WEIGHT * sum(slow_cross_entropy(mean, p) for p in probs) / len(probs)
    if form == "kl_entropy":
        return WEIGHT * kl + ENTROPY_WEIGHT * slow_entropy(mean)
    if form == "legacy":
        return WEIGHT * (kl + slow_entropy(slow_softmax(mean)))
    if form == "kl":
        return WEIGHT * kl
    pairs = [(a, b) for i, a in enumerate(probs) for b in probs[i + 1 :]]
    squares = [sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a, b in pairs]
    return WEIGHT * sum(squares) / len(pairs)


def slow_loss(form, logits_mBK, labels):
    """Mean over the images of the mean cross entropy plus the form."""
    total = 0.0
    for image, label in enumerate(labels.tolist()):
        probs = [slow_softmax(row) for row in logits_mBK[:, image].tolist()]
        total -= sum(math.log(p[label]) for p in probs) / len(probs)
        total += slow_form(form, probs)
    return total / len(labels)


def method(form, num_noises=2):
    return Consistency(
        sigma=0.5, num_noises=num_noises, weight=WEIGHT, entropy_weight=ENTROPY_WEIGHT, form=form
    )


@pytest.mark.parametrize("num_noises", [2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_equals_its_formula_image_by_image(problem, form, num_noises):
    expected = slow_loss(form, problem.logits(num_noises, 0.5), problem.labels)
    assert problem.loss(method(form, num_noises)).item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_every_forms_gradient_agrees_with_finite_differences(random_logits, form):
    def regularizer(logits: Tensor) -> Tensor:
        return FORMS[form](logits.log_softmax(-1), WEIGHT, ENTROPY_WEIGHT)

    assert torch.autograd.gradcheck(regularizer, random_logits.requires_grad_())


@pytest.mark.parametrize("form", FORMS)
def test_certain_and_contradicting_answers_give_finite_losses_and_gradients(form):
    logits = torch.tensor([[[300.0, 0.0, -300.0]], [[-300.0, 0.0, 300.0]]], requires_grad=True)
    regularizer = FORMS[form](logits.log_softmax(-1), WEIGHT, ENTROPY_WEIGHT)
    regularizer.backward()
    assert regularizer.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("form", ["kl", "mse"])
def test_forms_without_entropy_are_zero_for_equal_answers(form, random_logits):
    same = random_logits[:1].expand(3, -1, -1).log_softmax(-1)
    assert FORMS[form](same, WEIGHT, ENTROPY_WEIGHT).item() == pytest.approx(0, abs=1e-12)


def test_one_noise_is_refused():
    with pytest.raises(InvalidRequest, match="num_noises must be at least 2"):
        method("kl_entropy", num_noises=1)


def test_an_unknown_form_is_refused():
    with pytest.raises(InvalidRequest, match="form must be one of kl_entropy, xent"):
        method("l1")
