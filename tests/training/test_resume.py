"""Every method resumes after a kill to the weights of an uninterrupted run, at any point of its schedules."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from smoothcert.models.architectures import build_network
from training.datasets import load_dataset
from training.datasets.base import Schedule, dataset_defaults
from training.datasets.image_set import ImageSet
from training.methods import METHODS, build_method
from training.recipe import FrozenClassifier, Recipe
from training.run import restore_state, save_state
from training.trainer import Position, Trainer

CPU = torch.device("cpu")
DIGITS = Path(__file__).parent.parent / "data" / "mnist-tiny"
IMAGES = 32
SCHEDULE = Schedule(epochs=3, lr=0.01, lr_step=1, batch=16)  # the rate drops after two epochs
SHORT = {"steps": 2, "warmup": 3}  # an attack whose radius grows until the third epoch
RUNS = [
    ("gaussian", {}),
    ("stability", {}),
    ("consistency", {}),
    ("consistency", {"form": "legacy", "num_noises": 4}),
    ("smoothadv", SHORT),
    ("smoothadv", SHORT | {"attack": "ddn"}),
    ("smoothadv-consistency", SHORT),
    ("smoothmix", SHORT | {"one_step_adversary": True}),
    ("cat-rs", {"steps": 2}),
    ("standard", {}),
    ("denoiser", {"depth": 3, "channels": 4}),
    ("denoiser", {"depth": 3, "channels": 4, "form": "stability"}),
    ("macer", {"num_noises": 4, "beta": 1.0}),  # its robust term waits for the third epoch
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    some = load_dataset("mnist", "train", DIGITS, download=False)
    return replace(some, images_u8=some.images_u8[::4][:IMAGES], labels=some.labels[::4][:IMAGES])


def recipe(name: str, options: dict[str, object]) -> Recipe:
    known = dataset_defaults("mnist")
    method = build_method(name, "mnist", 0.5, **options)
    plain = Recipe(name, method, "mnist", known.architecture, SCHEDULE, known.mean, known.std)
    if not method.needs_classifier:
        return plain
    classifier = FrozenClassifier("clean", "0" * 64, "lenet", known.mean, known.std, tuple("0123456789"))
    schedule = replace(SCHEDULE, lr=1e-3, optimizer="adam")
    return replace(plain, architecture="dncnn-3-4:lenet", classifier=classifier, schedule=schedule)


def new_trainer(wanted: Recipe, digits: ImageSet) -> Trainer:
    """The frozen classifier is an untrained LeNet, the same every time."""
    if wanted.classifier is None:
        return Trainer(wanted, digits, CPU)
    torch.manual_seed(4)
    return Trainer(wanted, digits, CPU, classifier=build_network("lenet", 10, (0.0,), (1.0,)))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def finished(trainer: Trainer) -> Trainer:
    for _ in trainer.steps():
        pass
    return trainer


@pytest.mark.parametrize(("name", "options"), RUNS)
def test_a_run_resumed_twice_ends_with_the_same_weights_and_losses(
    digits: ImageSet, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    wanted = recipe(name, options)
    undisturbed = finished(new_trainer(wanted, digits))
    steps = undisturbed.steps_per_epoch
    trainer = new_trainer(wanted, digits)
    for done in (1, 3 * steps - 1):  # in the first epoch, then all but one step of the third
        list(islice(trainer.steps(), done - trainer.position.epoch * steps - trainer.position.step))
        save_state(trainer, tmp_path / "state")
        torch.manual_seed(77)  # as in another process
        trainer = new_trainer(wanted, digits)
        restore_state(trainer, tmp_path / "state")
        assert replace(trainer.position, seconds=0) == Position(*divmod(done, steps))
    finished(trainer)
    assert same(weights(undisturbed), weights(trainer))
    assert trainer.records[-1].loss == undisturbed.records[-1].loss


def test_the_runs_cover_every_method() -> None:
    assert {name for name, _ in RUNS} == set(METHODS)


@pytest.mark.parametrize(
    ("name", "options", "change"),
    [
        ("smoothadv", SHORT, {"warmup": 0}),
        ("macer", {"num_noises": 4, "beta": 1.0}, {"deferred": False}),
        ("macer", {"num_noises": 4, "beta": 1.0}, {"weight": 0.0}),
    ],
)
def test_a_changed_schedule_changes_the_weights_of_these_runs(
    digits: ImageSet, name: str, options: dict[str, object], change: dict[str, object]
) -> None:
    """Without this the test above would not detect a lost position."""
    usual, other = (
        finished(Trainer(recipe(name, each), digits, CPU)) for each in (options, options | change)
    )
    assert not same(weights(usual), weights(other))


def test_dropout_resumes_bit_for_bit(digits: ImageSet, tmp_path: Path) -> None:
    """Dropout uses torch's global generator, not the step's."""
    pixels = digits.images_u8[:8].expand(-1, 3, -1, -1)
    small = replace(digits, images_u8=pixels, labels=digits.labels[:8], input_shape=(3, 28, 28))
    ones = (0.0,) * 3, (1.0,) * 3
    wanted = replace(
        recipe("gaussian", {}), architecture="squeezenet1_1", mean=ones[0], std=ones[1],
        schedule=Schedule(epochs=3, lr=0.01, lr_step=1, batch=4), precision="float32",
    )  # fmt: skip
    undisturbed = finished(Trainer(wanted, small, CPU))
    killed = Trainer(wanted, small, CPU)
    list(islice(killed.steps(), 3))
    save_state(killed, tmp_path / "state")
    torch.manual_seed(77)
    resumed = Trainer(wanted, small, CPU)
    restore_state(resumed, tmp_path / "state")
    assert same(weights(undisturbed), weights(finished(resumed)))
