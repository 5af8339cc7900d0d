"""A training method and a data set are each added with one file and one line in a registry."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import read_card
from training.datasets import DATASETS, load_dataset
from training.methods import METHODS, option_names
from training.recipe import build_recipe, parse_options
from training.run import TrainingRun
from training.trainer import Trainer

METHOD_FILE = '''
"""Gaussian training with label smoothing."""

from dataclasses import dataclass, field

from torch.nn import functional

from training.methods.base import Method, log_probabilities, repeat_with_noise, require_at_least


@dataclass(frozen=True)
class Smoothed(Method):
    """mean_i CE(F_i, smoothed y)."""

    smoothing: float = field(default=0.1, metadata={"help": "share of the target spread over all classes"})

    def __post_init__(self):
        super().__post_init__()
        require_at_least(0, smoothing=self.smoothing)

    @classmethod
    def defaults(cls, dataset, sigma, **given):
        return {"num_noises": 1, "smoothing": 0.1}

    def loss(self, network, images_BCHW, labels_B, progress, generator):
        noisy_NCHW = repeat_with_noise(images_BCHW, self.num_noises, self.sigma, generator)
        log_probs_mBK = log_probabilities(network, noisy_NCHW, self.num_noises)
        labels_N = labels_B.repeat(self.num_noises)
        return functional.cross_entropy(
            log_probs_mBK.flatten(0, 1), labels_N, label_smoothing=self.smoothing
        )
'''
DATASET_FILE = '''
"""Bright and dark squares."""

from types import SimpleNamespace

import torch

from training.datasets.base import DatasetDefaults, DatasetSpec, Schedule


def read(root, train, download):
    images = 48 if train else 12
    labels = torch.arange(images) % 2
    return SimpleNamespace(data=(200 * labels + 20).byte().view(-1, 1, 1).expand(-1, 28, 28), targets=labels)


SQUARES = DatasetSpec(
    read=read,
    class_names=("dark", "bright"),
    licence="none",
    defaults=DatasetDefaults("lenet", Schedule(epochs=2, lr=0.01, lr_step=1, batch=16), (0.0,), (1.0,)),
    augment=None,
    family="mnist",
)
'''
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One file each, and one line each."""
    (tmp_path / "toy_method.py").write_text(METHOD_FILE)
    (tmp_path / "toy_dataset.py").write_text(DATASET_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "smoothed", "toy_method:Smoothed")
    monkeypatch.setitem(DATASETS, "squares", "toy_dataset:SQUARES")
    yield
    for name in ("toy_method", "toy_dataset"):
        sys.modules.pop(name, None)


def test_a_new_method_trains_a_new_data_set_to_a_checkpoint(tmp_path: Path) -> None:
    images = load_dataset("squares", "train", tmp_path)
    options = parse_options("smoothed", ["--smoothing", "0.2", "--num-noises=2"])
    recipe = build_recipe("smoothed", "squares", 0.25, options=options)
    trainer = Trainer(recipe, images, torch.device("cpu"))
    assert trainer.steps_per_epoch == 6  # 3 batches, one step for each of 2 noises
    run = TrainingRun(trainer, tmp_path / "squares-lenet", resume=False)
    for _ in run.train():
        pass
    run.export()
    card = read_card(tmp_path / "squares-lenet")
    assert (card.method, card.dataset, card.labels) == ("smoothed", "squares", ["dark", "bright"])
    assert card.method_options == {"num_noises": 2, "smoothing": 0.2}
    assert card.training["hyperparameters"] == 2
    assert load_network(tmp_path / "squares-lenet") is not None


def test_a_published_method_takes_the_new_data_sets_family_defaults(tmp_path: Path) -> None:
    recipe = build_recipe("consistency", "squares", 0.25, options={})
    assert recipe.record()["method"]["weight"] == 10.0  # MNIST's
    assert recipe.schedule.epochs == 2


def test_a_new_method_has_its_fields_as_options() -> None:
    assert option_names("smoothed") == ["num_noises", "smoothing"]
