import pytest
import torch
from torch import nn
from torch.nn import functional

from smoothcert.errors import InvalidRequest
from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.consistency import Consistency, SmoothAdvConsistency
from training.methods.gaussian import Gaussian
from training.methods.smoothadv import ATTACKS, AttackProblem, SmoothAdv


def at(epoch: float) -> TrainingProgress:
    return TrainingProgress(torch.tensor(epoch, dtype=torch.float64), first_drop=31.0)


@pytest.mark.parametrize(
    ("epoch", "share"), [(0.0, 0.1), (0.99, 0.1), (1.0, 0.2), (8.5, 0.9), (9.0, 1.0), (80.0, 1.0)]
)
def test_the_radius_grows_by_a_tenth_an_epoch_to_255_256ths(epoch, share):
    radius = SmoothAdv(sigma=0.5, epsilon=255.0).radius(at(epoch))
    assert radius.item() == pytest.approx(share * 255 / 256, rel=1e-12)


def test_without_warm_up_the_radius_is_whole_from_the_start():
    assert SmoothAdv(sigma=0.5, epsilon=512.0, warmup=0).radius(at(0.0)).item() == 2.0


@pytest.mark.parametrize("attack", ["pgd", "ddn"])
def test_the_loss_is_the_mean_cross_entropy_at_the_attacked_images_under_the_same_noises(problem, attack):
    method = SmoothAdv(sigma=0.5, num_noises=3, steps=4, attack=attack)
    noisy = repeat_with_noise(problem.images, 3, 0.5, torch.Generator().manual_seed(3))
    target = AttackProblem(problem.network, problem.images, noisy, problem.labels)
    eta = ATTACKS[attack](target, method.radius(at(50.0)), 4)
    losses = [
        functional.cross_entropy(problem.network(noisy[i * 5 : i * 5 + 5] + eta), problem.labels)
        for i in range(3)
    ]
    loss = problem.loss(method, at(50.0))
    assert loss.item() == pytest.approx(sum(losses).item() / 3, rel=1e-12)
    assert loss > problem.loss(Gaussian(sigma=0.5, num_noises=3))


def test_consistency_is_added_over_the_attacked_copies(problem):
    options = {"sigma": 0.5, "num_noises": 3, "steps": 4}
    method = SmoothAdvConsistency(weight=2.0, entropy_weight=0.5, **options)
    noisy = repeat_with_noise(problem.images, 3, 0.5, torch.Generator().manual_seed(3))
    attacked = method.attacked(problem.network, problem.images, noisy, problem.labels, at(50.0))
    probs = problem.network(attacked).softmax(-1).view(3, 5, 4)
    mean = probs.mean(0)
    divergence = (mean * (mean / probs).log()).sum(-1).mean(0)
    regularizer = (2.0 * divergence - 0.5 * (mean * mean.log()).sum(-1)).mean()
    expected = problem.loss(SmoothAdv(**options), at(50.0)) + regularizer
    assert problem.loss(method, at(50.0)).item() == pytest.approx(expected.item(), rel=1e-11)


@pytest.mark.parametrize("method", [SmoothAdv(sigma=0.5, steps=2), SmoothAdvConsistency(sigma=0.5, steps=2)])
def test_training_updates_batch_norm_once_and_reaches_every_parameter(problem, method):
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    ).double()
    generator = torch.Generator().manual_seed(3)
    method.loss(network, problem.images, problem.labels, at(0.0), generator).backward()
    assert network[1].num_batches_tracked.item() == 1
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(module.training for module in network.modules())


def test_the_same_generator_gives_the_same_loss(problem):
    method = SmoothAdvConsistency(sigma=0.5, steps=3)
    assert problem.loss(method, seed=1) == problem.loss(method, seed=1)
    assert problem.loss(method, seed=1) != problem.loss(method, seed=2)


def test_consistency_needs_two_noises_and_the_attack_alone_does_not():
    assert SmoothAdv(sigma=0.5, num_noises=1).num_noises == 1
    with pytest.raises(InvalidRequest, match="num_noises must be at least 2"):
        SmoothAdvConsistency(sigma=0.5, num_noises=1)
    with pytest.raises(InvalidRequest, match="num_noises must be at least 2"):
        Consistency(sigma=0.5, num_noises=1)


@pytest.mark.parametrize("option", [{"steps": 0}, {"epsilon": 0.0}, {"warmup": -1}, {"attack": "cw"}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InvalidRequest, match=f"{next(iter(option))} must be"):
        SmoothAdv(sigma=0.5, **option)
