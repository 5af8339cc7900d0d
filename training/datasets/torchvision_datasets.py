"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision."""

from dataclasses import replace

from torchvision import datasets

from training.datasets.base import DatasetDefaults, DatasetSpec, Schedule, crop_and_flip

MNIST = DatasetSpec(
    read=datasets.MNIST,
    class_names=tuple("0123456789"),
    licence="MNIST: Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0",
    defaults=DatasetDefaults("lenet", Schedule(epochs=90, lr=0.01, lr_step=30), (0.0,), (1.0,)),
    augment=None,
    family="mnist",
    method_schedules={"cat-rs": Schedule(epochs=150, lr=0.01, lr_step=50)},
)
FASHION_MNIST = replace(
    MNIST,
    read=datasets.FashionMNIST,
    class_names=(
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    licence="Fashion-MNIST: Zalando SE, MIT",
)
CIFAR10 = DatasetSpec(
    read=datasets.CIFAR10,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    licence="CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, no licence stated",
    defaults=DatasetDefaults(
        "resnet110",
        Schedule(epochs=150, lr=0.1, lr_step=50),
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    augment=crop_and_flip,
    family="cifar10",
    method_schedules={  # its authors' code
        "macer": Schedule(epochs=440, lr=0.01, lr_step=200, batch=64, weight_decay=5e-4, late=0),
    },
)
