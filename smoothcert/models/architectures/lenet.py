"""LeNet as the field trains it on MNIST: 431 080 parameters, no batch norm, no dropout."""

from torch import Tensor, nn


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
