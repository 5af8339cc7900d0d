"""Network architectures by name. One file per architecture of our own; torchvision provides the others."""

from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures.densenet_cifar import CifarDenseNet
from smoothcert.models.architectures.lenet import LeNet
from smoothcert.models.architectures.resnet_cifar import CifarResNet

Builder = Callable[[int, int], nn.Module]  # (num_classes, in_channels)

ARCHITECTURES: dict[str, Builder] = {
    "lenet": LeNet,
    "resnet20": lambda num_classes, in_channels: CifarResNet(20, num_classes, in_channels),
    "resnet110": lambda num_classes, in_channels: CifarResNet(110, num_classes, in_channels),
    "densenet40": lambda num_classes, in_channels: CifarDenseNet((6, 6, 6), 12, num_classes, in_channels),
}


class Normalize(nn.Module):
    """The first layer: (x - mean) / std per channel, pixels in [0,1]. Not trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent, as the card holds these values.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return (images_BCHW - self.mean) / self.std


WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")  # used only by the loss of their authors


def build_network(name: str, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A base classifier with fresh weights: (B, C, H, W) pixels in [0,1], plus noise, to logits (B, K).

    `name` is one of ARCHITECTURES or any torchvision classifier (3 channels). Raises InvalidRequest.
    """
    body = _build_body(name, num_classes, in_channels=len(mean))
    return nn.Sequential(Normalize(mean, std), body)


def _build_body(name: str, num_classes: int, in_channels: int) -> nn.Module:
    if name in ARCHITECTURES:
        return ARCHITECTURES[name](num_classes, in_channels)
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise InvalidRequest(
            f"There is no architecture {name!r}; there are: {', '.join(ARCHITECTURES)} "
            "and the classifiers of torchvision (resnet50, ...)."
        )
    if in_channels != 3:
        raise InvalidRequest(f"{name} takes colour images; these have {in_channels} channel(s).")
    options = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARY_HEADS else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network
