"""DenseNet-BC for 32x32 images (Huang et al. 2017); blocks [6,6,6] and growth 12 are DenseNet-40."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
