"""The field's usual training loop, for comparison: eager, contiguous float32, torch's DataLoader, SGD."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from smoothcert.engines.hardware import usable_cpus
from training.recipe import Recipe

WORKERS = min(4, usable_cpus())  # published code has 4 by default; more than cores only slow it down


@dataclass(frozen=True)
class Weights:
    """lambda and eta of Consistency's regularizer."""

    kl: float
    entropy: float


def dataset_of(name: str, root: str, images: int | None) -> Dataset[tuple[Tensor, int]]:
    """torchvision's data set, decoded and augmented image by image in the loader's processes."""
    crops = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*(crops if name == "cifar10" else []), transforms.ToTensor()])
    kind = datasets.CIFAR10 if name == "cifar10" else datasets.MNIST
    whole = kind(root, train=True, transform=transform)
    return whole if images is None else Subset(whole, range(images))


class PlainTraining:
    """Consistency (`kl_entropy`, m noises) on the same published steps as training.trainer takes."""

    def __init__(self, recipe: Recipe, network: nn.Module, dataset: Dataset[tuple[Tensor, int]]) -> None:
        self.recipe = recipe
        self.network = network.train()
        options = recipe.record()["method"]
        self._weights = Weights(options["weight"], options["entropy_weight"])
        self._loader = DataLoader(
            dataset, batch_size=recipe.schedule.batch, shuffle=True, num_workers=WORKERS
        )
        schedule = recipe.schedule
        self._optimizer = torch.optim.SGD(
            network.parameters(), schedule.lr_at(0), schedule.momentum, weight_decay=schedule.weight_decay
        )

    def epoch(self, number: int = 0) -> Iterator[None]:
        """One pass; yields after every optimizer step."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.schedule.lr_at(number)
        noises = self.recipe.method.num_noises
        for images_BCHW, labels_B in self._loader:
            for images, labels in zip(images_BCHW.chunk(noises), labels_B.chunk(noises), strict=True):
                self._step(images, labels)
                yield

    def _step(self, images_BCHW: Tensor, labels_B: Tensor) -> None:
        noises = self.recipe.method.num_noises
        inputs = torch.cat([images_BCHW + torch.randn_like(images_BCHW) * self._sigma for _ in range(noises)])
        chunks = torch.chunk(self.network(inputs), noises)
        loss = functional.cross_entropy(torch.cat(chunks), labels_B.repeat(noises)) + self._consistency(
            chunks
        )
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        loss.item()  # published code logs it at every step

    @property
    def _sigma(self) -> float:
        return self.recipe.method.sigma

    def _consistency(self, chunks: tuple[Tensor, ...]) -> Tensor:
        softmaxes = [functional.softmax(logits, dim=1) for logits in chunks]
        mean = torch.stack(softmaxes).mean(0)
        log_mean = mean.clamp_min(1e-20).log()
        logs = [functional.log_softmax(logits, dim=1) for logits in chunks]
        kl = torch.stack([(mean * (log_mean - log)).sum(1) for log in logs]).mean(0)
        entropy = -(mean * log_mean).sum(1)
        return (self._weights.kl * kl + self._weights.entropy * entropy).mean()
