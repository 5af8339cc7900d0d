"""The gradients of the complete losses against finite differences, in float64."""

import pytest
import torch

from training.methods import METHODS, build_method

STEP = 1e-6
ATTACKS = {  # the part of a method that its gradient does not flow through
    "smoothadv": "attacked",
    "smoothadv-consistency": "attacked",
    "smoothmix": "attack",
    "cat-rs": "attacked_noise",
}
LOSSES = [
    ("gaussian", {"num_noises": 2}),
    ("stability", {"num_noises": 2}),
    *(
        ("consistency", {"form": form, "num_noises": 3})
        for form in ("kl_entropy", "xent", "legacy", "kl", "mse")
    ),
    ("smoothadv", {"num_noises": 2, "steps": 3}),
    ("smoothadv", {"num_noises": 2, "steps": 3, "attack": "ddn"}),
    ("smoothadv-consistency", {"num_noises": 2, "steps": 3}),
    ("smoothmix", {"num_noises": 2, "steps": 3}),
    ("smoothmix", {"num_noises": 2, "steps": 2, "one_step_adversary": True}),
    ("cat-rs", {"num_noises": 2, "steps": 3}),
    ("macer", {"num_noises": 4, "beta": 1.0}),
    ("standard", {}),
]
OWN_TEST = {"denoiser"}  # whose network makes images: test_denoiser.py


def shift(network, direction, length):
    with torch.no_grad():
        for parameter, along in zip(network.parameters(), direction, strict=True):
            parameter.add_(along, alpha=length)


@pytest.mark.parametrize(("name", "options"), LOSSES)
def test_the_gradient_is_that_of_the_loss_with_the_attack_held_fixed(problem, monkeypatch, name, options):
    method = build_method(name, "mnist", 0.5, **options)
    problem.loss(method).backward()
    if (attack_name := ATTACKS.get(name)) is not None:  # no gradient flows through the attack: held fixed
        found, attack = [], getattr(type(method), attack_name)
        monkeypatch.setattr(type(method), attack_name, lambda *args: found.append(attack(*args)) or found[0])
        problem.loss(method)
        monkeypatch.setattr(type(method), attack_name, lambda *_: found[0])
    generator = torch.Generator().manual_seed(8)
    parameters = list(problem.network.parameters())
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((p.grad * along).sum() for p, along in zip(parameters, direction, strict=True)).item()
    losses = []
    for length in (STEP, -2 * STEP):
        shift(problem.network, direction, length)
        losses.append(problem.loss(method).item())
    assert (losses[0] - losses[1]) / (2 * STEP) == pytest.approx(slope, rel=1e-5)
    assert abs(slope) > 1e-3


def test_the_losses_cover_every_method():
    assert {name for name, _ in LOSSES} == set(METHODS) - OWN_TEST
