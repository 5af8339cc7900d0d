"""Your own images: a tree of class folders, decoded the way the service will decode an upload."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from certification.contract.card import Preprocessing
from certification.errors import UserMistake
from training.streaming import Frame, ImageFiles, Pixels

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
GREY_MODES = {"1", "L", "LA"}  # beside those of more than 8 bits, which begin with I
TEST_FOLDERS = ("test", "val")
HELD_OUT = 10  # without a test folder every tenth image of a class is kept for testing
DEFAULT_SIZE = 224  # pixels
SMALL = 64  # pixels; up to this side images are taken whole, above it ImageNet's margin is cropped away
MARGIN = 256 / 224
SAMPLED = 200  # headers read to learn whether the images are grey or all of one size
IN_MEMORY = 8 << 30  # bytes; larger sets are decoded as they are needed, also those beyond half the memory

Labelled = tuple[Path, int]


@dataclass(frozen=True)
class FolderImages:
    """One split; fields as in training.datasets.ImageSet."""

    images_u8: Pixels
    labels: Tensor
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    resize: int


@dataclass(frozen=True)
class Tree:
    """Where the images of each split lie: class folders below `training` and, if there is one, `testing`."""

    training: Path
    testing: Path | None
    class_names: tuple[str, ...]

    @classmethod
    def find(cls, root: Path) -> "Tree":
        """Raises UserMistake when there are fewer than two classes."""
        training = root / "train" if (root / "train").is_dir() else root
        class_names = _class_names(training)
        separate = [root / name for name in TEST_FOLDERS] if training != root else []
        testing = next((t for t in separate if any((t / name).is_dir() for name in class_names)), None)
        return cls(training, testing, class_names)

    def files(self, split: str) -> list[Labelled]:
        """The files of one split with their classes' numbers, sorted by class and name."""
        if self.testing is not None:
            return self._files(self.training if split == "train" else self.testing, range(HELD_OUT))
        held_out = {1}  # not 0: a class's only image is for training
        places = set(range(HELD_OUT)) - held_out if split == "train" else held_out
        return self._files(self.training, places)

    def _files(self, folder: Path, places: Collection[int]) -> list[Labelled]:
        """Those whose place among the class's files, modulo HELD_OUT, is in `places`."""
        return [
            (path, label)
            for label, name in enumerate(self.class_names)
            for place, path in enumerate(sorted(_images_below(folder / name)))
            if place % HELD_OUT in places
        ]


def read_folder(root: Path, split: str, size: int | None, *, stream: bool | None = None) -> FolderImages:
    """All images of one split ("train" or "test"), classes in the order of their folders' names.

    Splits are `root/train` and `root/test` or `root/val` where they exist; else every tenth image of each
    class is held out. stream: images stay in their files until they are wanted; None: if memory is short.
    Raises UserMistake when there are no classes, or a file is not an image we take.
    """
    tree = Tree.find(root)
    channels, own_size = _survey([path for path, _ in tree.files("train")])
    size = size or own_size or DEFAULT_SIZE
    resize = round(size * MARGIN) if size > SMALL else size
    stored = resize if split == "train" and size != own_size else size
    files = tree.files(split)
    images = ImageFiles([path for path, _ in files], _frame(channels, stored, resize))
    if stream is None:
        stream = not _fits_in_memory(images)
    return FolderImages(
        images_u8=images if stream else images.all(),
        labels=torch.tensor([label for _, label in files], dtype=torch.int64),
        class_names=tree.class_names,
        input_shape=(channels, size, size),
        resize=resize,
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise UserMistake(f"There is no folder {folder}.")
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and any(_images_below(p)))
    if len(names) < 2:
        raise UserMistake(f"{folder} needs two or more folders of images, one a class; it has {len(names)}.")
    return tuple(names)


def _images_below(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _survey(paths: Sequence[Path]) -> tuple[int, int | None]:
    """Channels (1 if all images are grey, else 3), and the side in pixels if all are alike and square."""
    modes, sizes = set(), set()
    for path in paths[:: -(-len(paths) // SAMPLED)]:
        try:
            with Image.open(path) as image:
                modes.add(image.mode)
                sizes.add(image.size)
        except (OSError, Image.DecompressionBombError) as error:
            raise UserMistake(f"{path} is not an image we can use.") from error
    grey = all(mode in GREY_MODES or mode.startswith("I") for mode in modes)
    width, height = sizes.pop()
    return (1 if grey else 3), (width if not sizes and width == height else None)


def _frame(channels: int, side: int, resize: int) -> Frame:
    preprocessing = Preprocessing(mode="L" if channels == 1 else "RGB", resize=resize, mean=(), std=())
    return Frame((channels, side, side), preprocessing)


def _fits_in_memory(images: ImageFiles) -> bool:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return images.shape.numel() <= min(IN_MEMORY, memory // 2)
