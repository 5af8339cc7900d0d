import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.methods.base import TrainingProgress
from training.methods.catrs import CatRs, divergences, easiest, restandardized

PROGRESS = TrainingProgress(torch.tensor(5.0), first_drop=51.0)


def draws(problem, method, seed=3):
    """The noises (m, B, C, H, W) and uniform numbers (m, B) that the loss draws with this seed."""
    m, images = method.num_noises, problem.images
    generator = torch.Generator().manual_seed(seed)
    noises = method.sigma * torch.randn((m, *images.shape), generator=generator, dtype=images.dtype)
    return noises, torch.rand((m, len(images)), generator=generator)


def slow_kl(p, q):
    return sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True) if a > 0)


def slow_attack(network, image, share, start, method):
    """One noise attacked alone."""
    noise, steps, epsilon = start, method.steps, method.epsilon
    for _ in range(steps):
        x = noise.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(slow_kl(share, network((image + x)[None])[0].softmax(-1)), x)
        change = noise + 2 * epsilon / steps * gradient / (gradient.norm() + 1e-8) - start
        if change.norm() > epsilon:
            change = change * epsilon / change.norm()
        moved = start + change
        noise = (moved - moved.mean()) / moved.square().mean().sqrt()
        noise = start.mean() + noise * start.square().mean().sqrt()
    return noise.detach()


def slow_loss(problem, method, shares):
    """The published formula, image by image and noise by noise."""
    m = method.num_noises
    noises, uniform = draws(problem, method)
    total = 0.0
    for b, (image, label) in enumerate(zip(problem.images, problem.labels, strict=True)):
        answers = [problem.network((image + noise)[None])[0].softmax(-1) for noise in noises[:, b]]
        losses = sorted((-answer[label].log() for answer in answers), key=torch.Tensor.item)
        share_right = sum(float(answer.argmax() == label) for answer in answers) / m
        kept = max(1, sum(float(u) < share_right for u in uniform[:, b]))
        total += sum(losses[:kept]) / m
        if kept == m:
            worst = []
            for noise in noises[:, b]:
                moved = slow_attack(problem.network, image, shares[b], noise, method)
                worst.append(slow_kl(shares[b], problem.network((image + moved)[None])[0].softmax(-1)))
            total += method.weight * max(worst, key=torch.Tensor.item)
    return total / len(problem.images)


@pytest.fixture
def shares(problem):
    """Vote shares with classes that no vote names, as real ones have."""
    counts = torch.tensor([[7, 2, 1, 0], [0, 10, 0, 0], [1, 0, 9, 0], [5, 0, 0, 5], [2, 3, 4, 1]])
    return counts.double() / 10


@pytest.mark.parametrize("num_noises", [1, 2, 4])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_loss_and_its_gradient_equal_the_formula_image_by_image(problem, shares, num_noises, steps):
    problem.labels.copy_(problem.logits(num_noises, 0.5).softmax(-1).mean(0).argmax(-1))
    method = CatRs(sigma=0.5, num_noises=num_noises, steps=steps, epsilon=0.8, weight=1.5)
    generator = torch.Generator().manual_seed(3)
    loss = method.loss(problem.network, problem.images, problem.labels, PROGRESS, generator, shares_BK=shares)
    slow = slow_loss(problem, method, shares)
    assert loss.item() == pytest.approx(slow.item(), rel=1e-8)
    parameters = list(problem.network.parameters())
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(slow, parameters), strict=True)
    assert all(torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9) for ours, theirs in pairs)


def test_without_shares_the_labels_are_the_target(problem):
    method = CatRs(sigma=0.5, num_noises=2, steps=2)
    certain = torch.nn.functional.one_hot(problem.labels, 4).double()
    generator = torch.Generator().manual_seed(3)
    given = method.loss(
        problem.network, problem.images, problem.labels, PROGRESS, generator, shares_BK=certain
    )
    assert problem.loss(method, PROGRESS).item() == given.item()


def test_the_number_of_easy_noises_is_binomial_and_at_least_one(random_logits):
    log_probs = random_logits.log_softmax(-1)
    right = random_logits[0].argmax(-1)
    none_below, all_below = torch.ones(3, 5), torch.zeros(3, 5)
    smallest, sure = easiest(log_probs, right, none_below)
    losses = -log_probs.gather(-1, right.expand(3, -1)[..., None]).squeeze(-1)
    assert torch.allclose(smallest, losses.amin(0) / 3)
    assert not sure.any()
    every, sure = easiest(log_probs, right, all_below)
    assert torch.allclose(every, losses.mean(0))  # each image has at least one right copy
    assert sure.all()
    wrong = random_logits.amin(0).argmin(-1)
    never = (random_logits.argmax(-1) != wrong).all(0)
    assert never.any()
    assert not easiest(log_probs, wrong, all_below)[1][never].any()


def test_the_attack_raises_the_divergence_and_keeps_mean_and_rms(problem, shares):
    method = CatRs(sigma=0.5, num_noises=4, steps=4, epsilon=1.0)
    noises, _ = draws(problem, method)
    start, copies = noises.flatten(0, 1), problem.images.repeat(4, 1, 1, 1)
    moved = method.attacked_noise(problem.network, copies, start, shares)
    before, after = (
        divergences(shares, problem.network(copies + noise).log_softmax(-1).unflatten(0, (4, -1)))
        for noise in (start, moved)
    )
    assert (after > before).all()
    assert torch.allclose(moved.mean((1, 2, 3)), start.mean((1, 2, 3)), atol=1e-12)
    centred = [noise - noise.mean((1, 2, 3), keepdim=True) for noise in (moved, start)]
    stds = [noise.square().mean((1, 2, 3)).sqrt() for noise in centred]
    assert torch.allclose(*stds, rtol=0.05)


def test_noise_that_did_not_move_is_only_rescaled():
    start = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    again = restandardized(start, start)
    assert torch.allclose(again, start)


def test_the_loss_agrees_with_finite_differences(random_logits, shares):
    labels, uniform = random_logits.mean(0).argmax(-1), torch.full((3, 5), 0.2)

    def loss(logits):
        log_probs = logits.log_softmax(-1)
        easy, sure = easiest(log_probs, labels, uniform)
        return easy + sure * divergences(shares, log_probs).amax(0)

    assert torch.autograd.gradcheck(loss, random_logits.requires_grad_())


def test_certain_answers_leave_losses_and_gradients_finite():
    logits = torch.tensor([[[300.0, 0.0, -300.0]], [[-300.0, 0.0, 300.0]]], requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 1.0]])
    loss = divergences(target, logits.log_softmax(-1)).sum()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("option", [{"steps": 0}, {"epsilon": 0.0}, {"weight": -1.0}, {"num_noises": 0}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidRequest, match=f"{next(iter(option))} must be"):
        CatRs(sigma=0.5, **option)
