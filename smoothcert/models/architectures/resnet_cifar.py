"""ResNets for 32x32 images (He et al. 2016) with projection shortcuts, as the published checkpoints have."""

from torch import Tensor, nn
from torch.nn import functional as F


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
