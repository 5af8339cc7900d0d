"""Fashion-MNIST: clothes, in MNIST's form and trained like it."""

from dataclasses import replace

from torchvision import datasets as published

from training.sources.mnist import MNIST

FASHION_MNIST = replace(
    MNIST,
    read=published.FashionMNIST,
    class_names=(
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    licence="Fashion-MNIST: Zalando SE, MIT",
)
