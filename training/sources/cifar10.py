"""CIFAR-10: small photographs, 32x32, in colour."""

from torchvision import datasets as published

from training.augment import crop_and_flip
from training.schedule import Schedule
from training.sources.base import DataDefaults, Source

CIFAR10 = Source(
    read=published.CIFAR10,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    licence="CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, no licence stated",
    defaults=DataDefaults(
        "resnet110",
        Schedule(epochs=150, lr=0.1, lr_step=50),
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    augment=crop_and_flip,
    family="cifar10",
    own_schedules={  # its authors' code
        "macer": Schedule(epochs=440, lr=0.01, lr_step=200, batch=64, weight_decay=5e-4, late=0),
    },
)
