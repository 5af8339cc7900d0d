"""Network architectures by name: those of the field that torchvision lacks, torchvision's, and timm's.

LeNet as the field trains it on MNIST: 431 080 parameters, no batch norm, no dropout. ResNets for 32x32
images (He et al. 2016) with projection shortcuts, as the published checkpoints have. DenseNet-BC for 32x32
images (Huang et al. 2017); blocks [6,6,6] and growth 12 are DenseNet-40. DnCNN (Zhang et al. 2017), the
denoiser of denoised smoothing, as Salman et al. 2020 have it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothcert.environment import how_to_install
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.models.registry import TIMM, DenoisedArchitecture


class LeNet(nn.Module):
    """Two 5x5 convolutions and two linear layers. Takes (B, 1, 28, 28), gives logits (B, K)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 20, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(50 * 4 * 4, 500), nn.ReLU(), nn.Linear(500, num_classes)
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images_BCHW))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: 1x1 convolution + batch norm where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of basic blocks, widths 16/32/64. Takes (B, C, 32, 32), gives logits (B, K).

    depth = 6 * blocks_per_stage + 2: 20 has 3 blocks a stage, 110 has 18.
    """

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        assert depth % 6 == 2, "depth is 6 n + 2"
        blocks = (depth - 2) // 6
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.stages = nn.Sequential(
            _stage(16, 16, blocks, stride=1),
            _stage(16, 32, blocks, stride=2),
            _stage(32, 64, blocks, stride=2),
        )
        self.head = nn.Linear(64, num_classes)
        self._initialise()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.stages(F.relu(self.stem_bn(self.stem(images_BCHW))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class Bottleneck(nn.Module):
    """BN-ReLU-1x1 (4k) then BN-ReLU-3x3 (k); its output joins its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return torch.cat((x, out), dim=1)


class CifarDenseNet(nn.Module):
    """Takes (B, C, 32, 32), gives logits (B, K).

    Between two blocks there is a 2x2 average pool only: with compression 1 the published networks have no
    convolution there.
    """

    def __init__(
        self,
        blocks: tuple[int, ...] = (6, 6, 6),
        growth: int = 12,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        channels = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)]
        for index, size in enumerate(blocks):
            if index > 0:
                layers.append(nn.AvgPool2d(2))
            layers += [Bottleneck(channels + i * growth, growth) for i in range(size)]
            channels += size * growth
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.head = nn.Linear(channels, num_classes)
        self._initialise()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images_BCHW).mean(dim=(2, 3)))
        return logits

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)


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


class DnCNN(nn.Module):
    """x - net(x), where net predicts the noise in x (B, C, H, W), pixels in [0,1] plus noise.

    depth: convolutions (3x3), all but the last with ReLU, all but the first and last with batch norm.
    channels: between them. Its names are those of the published checkpoints. A fresh one changes nothing: the
    last convolution starts at 0.
    """

    def __init__(self, depth: int, channels: int, image_channels: int) -> None:
        super().__init__()
        assert depth >= 2
        layers: list[nn.Module] = [nn.Conv2d(image_channels, channels, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels, eps=1e-4, momentum=0.95),
                nn.ReLU(),
            ]
        last = nn.Conv2d(channels, image_channels, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        self.dncnn = nn.Sequential(*layers, last)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        denoised: Tensor = images_BCHW - self.dncnn(images_BCHW)
        return denoised


class DenoisedClassifier(nn.Module):
    """A denoiser before a frozen classifier: one base classifier of noisy images (B, C, H, W).

    Only the denoiser is trained: the classifier stays in evaluation mode, its weights take no gradient.
    onnx: the bytes of the file that the classifier was read from, if the classifier has them.
    """

    def __init__(self, denoiser: DnCNN, classifier: nn.Module) -> None:
        super().__init__()
        self.onnx: bytes | None = getattr(classifier, "onnx", None)
        self.denoiser = denoiser
        self.classifier = classifier.eval().requires_grad_(requires_grad=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.denoiser(images_BCHW))
        return logits

    def train(self, mode: bool = True) -> "DenoisedClassifier":
        super().train(mode)
        self.classifier.eval()
        return self


WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")  # used only by the loss of their authors


def build_network(name: str, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A base classifier with fresh weights: (B, C, H, W) pixels in [0,1], plus noise, to logits (B, K).

    `name` is one of ARCHITECTURES, any torchvision classifier (3 channels), or timm: and the name of one of
    timm's; before any of them may stand a denoiser, as in dncnn-17-64:resnet110. Raises InvalidRequest;
    InternalError: timm is not installed.
    """
    denoised = DenoisedArchitecture.parse(name)
    if denoised is not None:
        classifier = build_network(denoised.classifier, num_classes, mean, std)
        return build_denoised(denoised, classifier, len(mean))
    body = build_body(name, num_classes, in_channels=len(mean))
    return nn.Sequential(Normalize(mean, std), body)


def build_denoised(
    architecture: DenoisedArchitecture, classifier: nn.Module, image_channels: int
) -> DenoisedClassifier:
    """A fresh denoiser before this classifier, which is not copied."""
    denoiser = DnCNN(architecture.depth, architecture.channels, image_channels)
    return DenoisedClassifier(denoiser, classifier)


def build_body(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """The network behind the layer that normalises. Raises as `build_network` does."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name](num_classes, in_channels)
    if name.startswith(TIMM):
        return _build_timm(name.removeprefix(TIMM), num_classes, in_channels)
    return _build_torchvision(name, num_classes, in_channels)


def _build_torchvision(name: str, num_classes: int, in_channels: int) -> nn.Module:
    import torchvision  # noqa: PLC0415  # takes as long to load as torch; loads its compiler

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise InvalidRequest(
            f"There is no architecture {name!r}; there are: {', '.join(ARCHITECTURES)} "
            f"the classifiers of torchvision (resnet50, ...), and timm's ({TIMM}NAME)."
        )
    if in_channels != 3:
        raise InvalidRequest(f"{name} takes colour images; these have {in_channels} channel(s).")
    options = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARY_HEADS else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _build_timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    try:
        import timm  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise InternalError(
            f"{TIMM}{name} needs the package timm. To get it: {how_to_install('timm')}"
        ) from error
    if name not in timm.list_models():
        raise InvalidRequest(f"timm has no architecture {name!r}; timm.list_models() lists them.")
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_classes, in_chans=in_channels
    )
    return network
