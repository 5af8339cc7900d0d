"""Your own images: a tree of class folders, decoded the way the service will decode an upload."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from smoothcert.errors import InvalidRequest
from smoothcert.images.decode import FORMATS
from smoothcert.schemas.card import Preprocessing
from training.streaming import Frame, ImageFiles, Pixels
from training.trees import HELD_OUT, Tree

GREY_MODES = {"1", "L", "LA"}  # beside those of more than 8 bits, which begin with I
DEFAULT_SIZE = 224  # pixels
SMALL = 64  # pixels; up to this side images are taken whole, above it ImageNet's margin is cropped away
MARGIN = 256 / 224
IN_MEMORY = 8 << 30  # bytes; larger sets are decoded as they are needed, also those beyond half the memory


@dataclass(frozen=True)
class FolderImages:
    """One split; fields as in training.datasets.ImageSet."""

    images_u8: Pixels
    labels: Tensor
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    resize: int
    files: tuple[Path, ...]
    summary: str


def read_folder(root: Path, split: str, size: int | None, *, stream: bool | None = None) -> FolderImages:
    """All images of one split ("train" or "test"), classes in the order of their folders' names.

    Splits are folders as training.trees finds them; without a test folder every tenth image of each class is
    held out. stream: images stay in their files until they are wanted; None: if memory is short.
    Raises InvalidRequest when there are no classes, or a file is not an image we take.
    """
    tree = Tree.find(root)
    headers = Headers.read([path for path, _ in tree.files("train")])
    size = size or headers.side or DEFAULT_SIZE
    resize = round(size * MARGIN) if size > SMALL else size
    stored = resize if split == "train" and size != headers.side else size
    files = tree.files(split)
    images = ImageFiles([path for path, _ in files], _frame(headers.channels, stored, resize))
    if stream is None:
        stream = not _fits_in_memory(images)
    return FolderImages(
        images_u8=images if stream else images.all(),
        labels=torch.tensor([label for _, label in files], dtype=torch.int64),
        class_names=tree.class_names,
        input_shape=(headers.channels, size, size),
        resize=resize,
        files=tuple(images.paths),
        summary=_summary(tree, headers),
    )


@dataclass(frozen=True)
class Headers:
    """What the files say of themselves. side: pixels, where all are alike and square, else None.
    grey, colour: the first file of each kind."""

    side: int | None
    grey: Path | None
    colour: Path | None

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Headers":
        """Looks at every file, until nothing can change the answer. Raises InvalidRequest."""
        sizes: set[tuple[int, int]] = set()
        first: dict[bool, Path] = {}
        for path in paths:
            grey, size = _header(path)
            first.setdefault(grey, path)
            sizes.add(size)
            if False in first and len(sizes) > 1:
                break
        side = next(iter(sizes))[0] if len(sizes) == 1 else None
        square = side is not None and sizes == {(side, side)}
        return cls(side if square else None, first.get(True), first.get(False))

    @property
    def channels(self) -> int:
        """1 if all images are grey, else 3."""
        return 1 if self.colour is None else 3


def _header(path: Path) -> tuple[bool, tuple[int, int]]:
    """Whether a file holds greys alone, and its width and height. Raises InvalidRequest."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.mode in GREY_MODES or image.mode.startswith("I"), image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"{path} is not an image we can use.") from error


def _summary(tree: Tree, headers: Headers) -> str:
    """What was taken, and what was not and why."""
    train, test = len(tree.files("train")), len(tree.files("test"))
    held = f"in {tree.testing.folder}" if tree.testing else f"held out, one of {HELD_OUT} of a class"
    taken = f"{train} training images of {len(tree.class_names)} classes in {tree.training.folder}"
    mixed = headers.grey and headers.colour
    colours = [f"grey images ({headers.grey}) are read as RGB, like those in colour ({headers.colour})"]
    return "; ".join([taken, f"{test} test images {held}", *tree.notes, *colours * bool(mixed)])


def _frame(channels: int, side: int, resize: int) -> Frame:
    preprocessing = Preprocessing(mode="L" if channels == 1 else "RGB", resize=resize, mean=(), std=())
    return Frame((channels, side, side), preprocessing)


def _fits_in_memory(images: ImageFiles) -> bool:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return images.shape.numel() <= min(IN_MEMORY, memory // 2)
