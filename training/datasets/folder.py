"""A folder of one's own images: class folders, decoded in the same way as the service decodes an upload."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from smoothcert.errors import InvalidRequest
from smoothcert.images.decode import FORMATS
from smoothcert.schemas.card import Preprocessing
from training.datasets import FOLDER, Split
from training.datasets.class_tree import HELD_OUT, ClassTree
from training.datasets.image_set import DecodeFormat, ImageFiles, ImageSet

GREY_MODES = {"1", "L", "LA"}  # of Pillow; modes with more than 8 bits a pixel start with I
DEFAULT_SIZE = 224  # pixels
SMALL = 64  # pixels: images up to this side are not cropped; larger ones get ImageNet's margin
MARGIN = 256 / 224
MAX_IN_MEMORY = 8 << 30  # bytes; larger sets, and those above half the memory, stay in their files


def load_folder(name: str, split: Split, size: int | None, *, stream: bool | None = None) -> ImageSet:
    """One split of folder:PATH. Classes are in the order of their folders' names.

    Splits are found by training.datasets.class_tree; without a test folder every tenth image of each class is
    held out. size, stream: as in load_dataset.
    Raises InvalidRequest: no classes, or a file that cannot be decoded.
    """
    tree = ClassTree.find(Path(name.removeprefix(FOLDER)))
    headers = ImageHeaders.read([path for path, _ in tree.files("train")])
    size = size or headers.side or DEFAULT_SIZE
    resize = round(size * MARGIN) if size > SMALL else size
    decoded = resize if split == "train" and size != headers.side else size  # random crops need the margin
    files = tree.files(split)
    images = ImageFiles([path for path, _ in files], _decode_format(headers.channels, decoded, resize))
    if stream is None:
        stream = not _fits_in_memory(images)
    return ImageSet(
        name=name,
        split=split,
        images_u8=images if stream else images.load_all(),
        labels=torch.tensor([label for _, label in files], dtype=torch.int64),
        class_names=tree.class_names,
        licence="the images' owner's",
        input_shape=(headers.channels, size, size),
        resize=resize,
        files=tuple(images.paths),
        summary=_summary(tree, headers),
    )


@dataclass(frozen=True)
class ImageHeaders:
    """Sizes and colours of a set's files.

    side: pixels, if all images are square and of one size, else None. grey, colour: the first such file.
    """

    side: int | None
    grey: Path | None
    colour: Path | None

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "ImageHeaders":
        """Reads headers until the answer is certain.

        Raises InvalidRequest for a file that is not an image.
        """
        sizes: set[tuple[int, int]] = set()
        first: dict[bool, Path] = {}
        for path in paths:
            grey, size = _read_header(path)
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


def _read_header(path: Path) -> tuple[bool, tuple[int, int]]:
    """Whether an image is grey, and its width and height in pixels."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.mode in GREY_MODES or image.mode.startswith("I"), image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidRequest(f"{path} is not an image we can use.") from error


def _summary(tree: ClassTree, headers: ImageHeaders) -> str:
    """What was read, what was skipped and why."""
    train, test = len(tree.files("train")), len(tree.files("test"))
    held = f"in {tree.testing.folder}" if tree.testing else f"held out, one of {HELD_OUT} of a class"
    read = f"{train} training images of {len(tree.class_names)} classes in {tree.training.folder}"
    mixed = headers.grey and headers.colour
    colours = [f"grey images ({headers.grey}) are read as RGB, like those in colour ({headers.colour})"]
    return "; ".join([read, f"{test} test images {held}", *tree.notes, *colours * bool(mixed)])


def _decode_format(channels: int, side: int, resize: int) -> DecodeFormat:
    preprocessing = Preprocessing(mode="L" if channels == 1 else "RGB", resize=resize, mean=(), std=())
    return DecodeFormat((channels, side, side), preprocessing)


def _fits_in_memory(images: ImageFiles) -> bool:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return images.shape.numel() <= min(MAX_IN_MEMORY, memory // 2)
