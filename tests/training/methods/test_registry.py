import math
from dataclasses import FrozenInstanceError, fields
from statistics import mean

import pytest
import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from training.datasets import DATASETS
from training.methods import METHODS, build_method, defaults, find_method, option_names
from training.methods.base import TrainingProgress

CLASSIFYING = [name for name in METHODS if not find_method(name).needs_classifier]
VARIANTS = [(name, {}) for name in CLASSIFYING] + [
    (name, {"attack": "ddn"}) for name in METHODS if "adv" in name
]
SCHEDULED = {"macer", "smoothadv", "smoothadv-consistency", "smoothmix"}  # their losses grow with the epoch
DATASETS = [*DATASETS, "folder:pictures"]


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_from_every_data_sets_defaults(name, dataset):
    for sigma in (0.12, 0.25, 0.5, 1.0, 2.0):
        method = build_method(name, dataset, sigma)
        assert method.sigma == sigma
        assert set(defaults(name, dataset, sigma)) == set(option_names(name))


def consistency(weight, entropy_weight=0.5):
    return {"num_noises": 2, "weight": weight, "entropy_weight": entropy_weight, "form": "kl_entropy"}


def smoothadv(num_noises, steps, epsilon, **more):
    attack = {"num_noises": num_noises, "steps": steps, "epsilon": epsilon, "warmup": 10, "attack": "pgd"}
    return attack | more


def both(num_noises, steps, epsilon, weight):
    return smoothadv(num_noises, steps, epsilon, weight=weight, entropy_weight=0.5, form="kl_entropy")


def smoothmix(num_noises, steps, step_size, *, one_step=False):
    attack = {
        "num_noises": num_noises,
        "steps": steps,
        "step_size": step_size,
        "one_step_adversary": one_step,
    }
    return attack | {"weight": 5, "warmup": 10}


def cat_rs(weight):
    return {"num_noises": 4, "steps": 4, "epsilon": 1, "weight": weight}


def macer(weight, *, deferred):
    return {"num_noises": 16, "weight": weight, "gamma": 8, "beta": 16, "deferred": deferred}


PUBLISHED = {  # by method and data set, at sigma = 0.25, 0.5 and 1
    ("gaussian", "mnist"): [{"num_noises": 1}] * 3,
    ("gaussian", "cifar10"): [{"num_noises": 1}] * 3,
    ("stability", "mnist"): [{"num_noises": 1, "weight": 2}] * 3,
    ("stability", "cifar10"): [{"num_noises": 1, "weight": weight} for weight in (2, 2, 1)],
    ("consistency", "mnist"): [consistency(10), consistency(5), consistency(5)],
    ("consistency", "cifar10"): [consistency(20), consistency(10), consistency(10)],
    ("consistency", "imagenet"): [consistency(5), consistency(5), consistency(5, 0.1)],
    ("smoothadv", "mnist"): [smoothadv(4, 10, 255)] * 3,
    ("smoothadv", "cifar10"): [smoothadv(4, 10, 255), smoothadv(2, 10, 512), smoothadv(4, 2, 512)],
    ("smoothadv", "imagenet"): [smoothadv(1, 1, 255), smoothadv(1, 1, 255), smoothadv(1, 1, 512)],
    ("smoothadv-consistency", "mnist"): [both(4, 10, 255, 1)] * 3,
    ("smoothadv-consistency", "cifar10"): [both(4, 10, 255, 2), both(2, 10, 512, 1), both(2, 10, 512, 1)],
    ("smoothmix", "mnist"): [smoothmix(4, steps, 1) for steps in (2, 4, 8)],
    ("smoothmix", "cifar10"): [
        smoothmix(2, 4, 0.5),
        smoothmix(2, 4, 1, one_step=True),
        smoothmix(2, 4, 2, one_step=True),
    ],
    ("cat-rs", "mnist"): [cat_rs(weight) for weight in (1, 1, 2)],
    ("cat-rs", "cifar10"): [cat_rs(weight) for weight in (0.5, 1, 2)],
    ("macer", "mnist"): [macer(weight, deferred=True) for weight in (16, 16, 6)],
    ("standard", "mnist"): [{"num_noises": 1}] * 3,
    ("denoiser", "cifar10"): [{"num_noises": 1, "form": "mse", "depth": 17, "channels": 64}] * 3,
    ("denoiser", "imagenet"): [{"num_noises": 1, "form": "mse", "depth": 17, "channels": 64}] * 3,
    ("macer", "cifar10"): [macer(12, deferred=deferred) for deferred in (False, False, True)],
}


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(("name", "dataset"), PUBLISHED)
def test_defaults_are_the_published_ones(name, dataset, place):
    sigma = (0.25, 0.5, 1.0)[place]
    assert defaults(name, dataset, sigma) == PUBLISHED[name, dataset][place]
    if dataset == "mnist":
        assert defaults(name, "fashion-mnist", sigma) == PUBLISHED[name, dataset][place]


@pytest.mark.parametrize(("dataset", "weight"), [("mnist", 20), ("cifar10", 20), ("imagenet", 10)])
def test_the_weight_that_made_the_printed_tables_is_legacys(dataset, weight):
    weights = {defaults("consistency", dataset, sigma, form="legacy")["weight"] for sigma in (0.25, 0.5, 1.0)}
    assert weights == {weight}


@pytest.mark.parametrize(("form", "weight"), [("legacy", 20.0), ("xent", 3.0), ("kl_entropy", 10.0)])
def test_the_weight_of_consistency_follows_its_form(form, weight):
    assert build_method("consistency", "mnist", 0.25, form=form).weight == weight
    assert build_method("consistency", "mnist", 0.25, form=form, weight=7.0).weight == 7.0


@pytest.mark.parametrize(("weight", "steps"), [(1, (3, 4, 8)), (5, (2, 4, 8)), (None, (2, 4, 8))])
def test_the_steps_of_smoothmix_follow_its_weight_on_mnist(weight, steps):
    given = {} if weight is None else {"weight": weight}
    assert tuple(defaults("smoothmix", "mnist", s, **given)["steps"] for s in (0.25, 0.5, 1.0)) == steps


def test_an_unknown_method_is_refused():
    with pytest.raises(InvalidRequest, match="no training method 'trades'; there are: gaussian, stability"):
        build_method("trades", "mnist", 0.5)


def test_training_without_noise_is_another_method_than_noise_of_level_0():
    with pytest.raises(InvalidRequest, match=r"above 0.*`standard` trains without noise"):
        build_method("gaussian", "mnist", 0.0)


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"stability has no option 'steps'; it has: num_noises, weight"):
        build_method("stability", "mnist", 0.5, steps=3)


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_help_and_nothing_can_be_changed_afterwards(name):
    method = build_method(name, "mnist", 0.5)
    assert all(option.metadata["help"] for option in fields(method))
    with pytest.raises(FrozenInstanceError):
        method.sigma = 1.0


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_few_steps_of_every_method_lower_its_loss(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 2))
    labels = torch.arange(32) % 2
    images = 0.2 * torch.rand(32, 1, 6, 6) + 0.6 * labels.view(-1, 1, 1, 1)
    method = build_method(name, "mnist", 0.25)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = method.loss(
            network, images, labels, TrainingProgress(torch.tensor(40.0), 31.0), torch.Generator()
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_one_step_or_one_per_noise(name):
    method = build_method(name, "mnist", 0.5)
    assert method.chunks in (1, method.num_noises)


@pytest.mark.parametrize(
    "name",
    [
        *("gaussian", "stability", "consistency", "smoothadv"),
        *("smoothadv-consistency", "smoothmix", "cat-rs"),
    ],
)
def test_published_runs_take_one_step_per_noise_except_macers(name):
    assert build_method(name, "mnist", 0.5, num_noises=3).chunks == 3
    assert build_method("macer", "mnist", 0.5, num_noises=3).chunks == 1


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_no_loss_depends_on_tensor_values_for_control_flow(name, options):
    """On the meta device a branch, an index or a shape that depends on values raises."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    network.to("meta")
    images, labels = torch.empty(8, 1, 6, 6, device="meta"), torch.empty(8, dtype=torch.int64, device="meta")
    method = build_method(name, "mnist", 0.25, **options)
    loss = method.loss(network, images, labels, TrainingProgress(torch.empty((), device="meta"), 31.0), None)
    loss.backward()
    assert loss.shape == ()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_every_loss_can_be_captured_in_a_cuda_graph_and_follows_the_epoch(name, options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    network.cuda()
    images, labels = torch.rand(8, 1, 6, 6, device="cuda"), torch.arange(8, device="cuda") % 4
    progress = TrainingProgress(torch.zeros((), device="cuda"), 31.0)
    method = build_method(name, "mnist", 0.25, **options)

    def backward():
        network.zero_grad()
        loss = method.loss(network, images, labels, progress, None)
        loss.backward()
        return loss

    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            backward()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = backward()
    losses = {}
    for epoch in (0.0, 40.0):
        progress.epoch.fill_(epoch)
        replays = []
        for _ in range(20):
            graph.replay()
            replays.append(loss.item())
        losses[epoch] = mean(replays)
    assert all(map(math.isfinite, losses.values()))
    if name in SCHEDULED:
        assert losses[40.0] > losses[0.0]
