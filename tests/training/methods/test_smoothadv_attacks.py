import pytest
import torch
from torch import Tensor, nn

from training.methods.base import repeat_with_noise
from training.methods.smoothadv import ATTACKS, AttackProblem, cosine_step, frozen_for_attack, l2_norms, pgd

RADIUS = torch.tensor(0.7, dtype=torch.float64)
BIG = torch.tensor(50.0, dtype=torch.float64)


def problem_of(problem, network: nn.Module | None = None, num_noises: int = 3) -> AttackProblem:
    noisy = repeat_with_noise(problem.images, num_noises, 0.5, torch.Generator().manual_seed(2))
    return AttackProblem(network or problem.network, problem.images, noisy, problem.labels)


def losses(target: AttackProblem, eta: Tensor) -> Tensor:
    """-log mean_i F_i(x + delta_i + eta)_y of every image, through probabilities and not their logarithms."""
    rows = []
    for image, label in enumerate(target.labels_B.tolist()):
        copies = target.noisy_NCHW[image :: len(target.images_BCHW)] + eta[image]
        rows.append(-target.network(copies).softmax(-1)[:, label].mean().log())
    return torch.stack(rows)


def slow_pgd(target: AttackProblem, radius: float, steps: int) -> Tensor:
    """PGD image by image, in plain steps."""
    found = []
    for image, label in enumerate(target.labels_B.tolist()):
        clean, copies = target.images_BCHW[image], target.noisy_NCHW[image :: len(target.images_BCHW)]
        eta = torch.zeros_like(clean)
        for _ in range(steps):
            eta.requires_grad_()
            loss = -target.network(copies + eta).softmax(-1)[:, label].mean().log()
            gradient = torch.autograd.grad(loss, eta)[0]
            eta = eta.detach() + 2 * radius / steps * gradient / gradient.norm()
            eta = (clean + eta).clamp(0, 1) - clean
            if eta.norm() > radius:
                eta = eta * radius / eta.norm()
        found.append(eta)
    return torch.stack(found)


def test_pgd_takes_the_published_steps_image_by_image(problem):
    target = problem_of(problem)
    eta = pgd(target, RADIUS, steps=5)
    assert torch.allclose(eta, slow_pgd(target, RADIUS.item(), 5), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_raises_the_loss_of_every_image_within_its_ball_and_the_image_range(problem, attack):
    target = problem_of(problem)
    nothing = torch.zeros_like(problem.images)
    problem.labels.copy_(target.log_probs(nothing).argmax(1))  # DDN leaves misclassified images unchanged
    eta = attack(target, RADIUS, 10)
    assert (l2_norms(eta) <= RADIUS * (1 + 1e-12)).all()
    assert ((problem.images + eta) >= -1e-12).all()
    assert ((problem.images + eta) <= 1 + 1e-12).all()
    assert (losses(target, eta) > losses(target, nothing)).all()
    assert not eta.requires_grad


def test_ddn_looks_for_the_shortest_perturbation_that_fools(problem):
    target = problem_of(problem)
    shortest, longest = ATTACKS["ddn"](target, BIG, 40), ATTACKS["pgd"](target, BIG, 40)
    assert (target.log_probs(shortest).argmax(1) != problem.labels).all()
    assert l2_norms(shortest).mean() < 0.8 * l2_norms(longest).mean()


def test_ddn_leaves_misclassified_images_unchanged(problem):
    target = problem_of(problem)
    right = target.log_probs(torch.zeros_like(problem.images)).argmax(1)
    problem.labels.copy_((right + 1) % 4)
    assert (ATTACKS["ddn"](target, RADIUS, 5) == 0).all()


def test_ddn_steps_fall_from_one_along_half_a_cosine():
    steps = [cosine_step(i, 10) for i in range(10)]
    assert steps[0] == 1
    assert steps[5] == pytest.approx(0.505)
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_gradient_that_vanishes_gives_no_nan(problem, attack):
    blind = nn.Sequential(nn.Flatten(), nn.Linear(72, 4)).double()
    nn.init.zeros_(blind[1].weight)
    assert (attack(problem_of(problem, blind), RADIUS, 3) == 0).all()


def test_a_tiny_gradient_still_gives_a_full_step(problem):
    faint = nn.Sequential(nn.Flatten(), nn.Linear(72, 4)).double()
    with torch.no_grad():
        faint[1].weight.mul_(1e-25)
    assert l2_norms(pgd(problem_of(problem, faint), RADIUS, 1)).min() > 0.1


def batch_norm_network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 4)
    ).double()


def test_an_attack_restores_the_network(problem):
    network = batch_norm_network()
    network[0].weight.requires_grad_(False)
    network[4].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with frozen_for_attack(network) as still:
        assert not any(module.training for module in still.modules())
        pgd(problem_of(problem, still), RADIUS, 3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [module.training for module in network] == [True, True, True, True, False, True]
    frozen = [not parameter.requires_grad for parameter in network.parameters()]
    assert frozen == [True, *[False] * (len(frozen) - 1)]


def test_a_failed_attack_restores_the_network():
    network = batch_norm_network()
    with pytest.raises(ZeroDivisionError), frozen_for_attack(network):
        raise ZeroDivisionError
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
