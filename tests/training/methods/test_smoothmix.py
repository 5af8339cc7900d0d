import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.methods import build_method
from training.methods.base import TrainingProgress, mean_cross_entropy, repeat_with_noise
from training.methods.gaussian import Gaussian
from training.methods.smoothmix import SmoothMix, mixing_loss


def at(epoch: float) -> TrainingProgress:
    return TrainingProgress(torch.tensor(epoch, dtype=torch.float64), first_drop=31.0)


def slow_attack(network, image, label, noises, method):
    """The attacked image after 0, 1, ... steps, one image alone."""
    path = [image]
    for _ in range(method.steps):
        x = path[-1].clone().requires_grad_()
        mean = sum(network((x + noise)[None])[0].softmax(-1) for noise in noises) / len(noises)
        loss = -torch.log(mean.clamp(min=1e-20)[label])
        (gradient,) = torch.autograd.grad(loss, x)
        path.append((x.detach() + method.step_size * gradient / (gradient.norm() + 1e-8)).clamp(0, 1))
    return path


def slow_loss(problem, method, epoch, seed=3):
    """The published formula, image by image and noise by noise."""
    m, images = method.num_noises, problem.images
    generator = torch.Generator().manual_seed(seed)
    noisy = repeat_with_noise(images, m, method.sigma, generator).unflatten(0, (m, -1))
    shares = 0.5 * torch.rand((len(images), 1, 1, 1), generator=generator, dtype=images.dtype).flatten()
    strength = min(1.0, (int(epoch) + 1) / method.warmup)
    cross, mixed = 0.0, 0.0
    for image, label, copies, u in zip(images, problem.labels, noisy.unbind(1), shares, strict=True):
        noises = copies - image
        path = slow_attack(problem.network, image, label, noises, method)
        start = image
        if method.one_step_adversary:
            change = path[1] - image
            start = image + change * min(1.0, method.step_size * strength / change.norm().item())
        answers = [problem.network((start + noise)[None])[0].softmax(-1) for noise in noises]
        cross -= sum(answer[label].log() for answer in answers) / m
        mean = sum(answers) / m
        x_mix = (1 - u) * start + u * path[-1]
        y_mix = (1 - u) * mean + u / len(mean)
        kl = 0.0
        for noise in noises:
            answer = problem.network((x_mix + noise)[None])[0].softmax(-1)
            kl += (y_mix * (y_mix.log() - answer.log())).sum() / m
        mixed += kl * float(mean.argmax() == label)
    return (cross + method.weight * strength * mixed) / len(images)


@pytest.mark.parametrize("epoch", [0.0, 4.7, 50.0])
@pytest.mark.parametrize("one_step", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_loss_and_its_gradient_equal_the_formula_image_by_image(problem, epoch, one_step, steps):
    method = SmoothMix(sigma=0.5, num_noises=3, steps=steps, step_size=0.7, one_step_adversary=one_step)
    parameters = list(problem.network.parameters())
    loss, slow = problem.loss(method, at(epoch)), slow_loss(problem, method, epoch)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-8)
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(slow, parameters), strict=True)
    assert all(torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9) for ours, theirs in pairs)


def test_some_images_are_right_and_some_wrong_in_this_test(problem):
    mean = problem.logits(3, 0.5).softmax(-1).mean(0)
    assert 0 < (mean.argmax(-1) == problem.labels).sum() < len(problem.labels)


def test_a_step_has_the_step_size_and_stays_in_the_image_range(problem):
    method = SmoothMix(sigma=0.5, num_noises=2, steps=3, step_size=0.05)
    noisy = repeat_with_noise(problem.images, 2, 0.5, torch.Generator().manual_seed(3))
    start, end = method.attack(problem.network, problem.images, noisy, problem.labels, torch.tensor(1.0))
    lengths = torch.linalg.vector_norm(end, dim=(1, 2, 3))
    assert start.abs().max() == 0
    assert (lengths <= 3 * 0.05 + 1e-9).all()
    assert lengths.max() > 0.1
    far = SmoothMix(sigma=0.5, num_noises=2, steps=3, step_size=50.0)
    _, end = far.attack(problem.network, problem.images, noisy, problem.labels, torch.tensor(1.0))
    moved = problem.images + end
    assert moved.min() >= -1e-12
    assert moved.max() <= 1 + 1e-12


def test_without_weight_it_is_training_with_noise(problem):
    method = SmoothMix(sigma=0.5, num_noises=3, steps=2, weight=0.0)
    assert problem.loss(method).item() == pytest.approx(
        problem.loss(Gaussian(sigma=0.5, num_noises=3)).item(), rel=1e-12
    )


def test_the_mixing_loss_agrees_with_finite_differences(random_logits):
    labels = random_logits.softmax(-1).mean(0).argmax(-1)
    labels[0] = (labels[0] + 1) % 4
    share = torch.linspace(0.05, 0.45, len(labels), dtype=torch.float64)[:, None]

    def loss(clean, mixed):
        return mixing_loss(clean.log_softmax(-1), mixed.log_softmax(-1), labels, share)

    mixed = (random_logits.flip(0) + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(loss, (random_logits.requires_grad_(), mixed))


def test_certain_answers_and_a_share_of_zero_leave_losses_and_gradients_finite():
    clean = torch.tensor([[[300.0, 0.0, -300.0]], [[300.0, -300.0, 0.0]]], requires_grad=True)
    mixed = torch.tensor([[[-300.0, 0.0, 300.0]], [[0.0, 300.0, 0.0]]], requires_grad=True)
    labels = torch.tensor([0])
    for share in (0.0, 0.4):
        log_probs = clean.log_softmax(-1), mixed.log_softmax(-1)
        loss = mixing_loss(*log_probs, labels, torch.tensor([[share]])).sum()
        gradients = torch.autograd.grad(loss + mean_cross_entropy(log_probs[0], labels), (clean, mixed))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_fewer_steps_reach_what_more_small_ones_do():
    """The published alpha * T = 8 at sigma = 1 in 8, 2 or 1 steps are options, not other code."""
    for steps, step_size in ((8, 1.0), (2, 4.0), (1, 8.0)):
        method = build_method("smoothmix", "mnist", 1.0, steps=steps, step_size=step_size)
        assert method.steps * method.step_size == 8


@pytest.mark.parametrize("option", [{"steps": 0}, {"step_size": 0.0}, {"weight": -1.0}, {"warmup": -1}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidRequest, match=f"{next(iter(option))} must be"):
        SmoothMix(sigma=0.5, **option)
