"""MNIST: handwritten digits, 28x28, grey."""

from torchvision import datasets as published

from training.schedule import Schedule
from training.sources.base import DataDefaults, Source

MNIST = Source(
    read=published.MNIST,
    class_names=tuple("0123456789"),
    licence="MNIST: Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0",
    defaults=DataDefaults("lenet", Schedule(epochs=90, lr=0.01, lr_step=30), (0.0,), (1.0,)),
    augment=None,
    family="mnist",
)
