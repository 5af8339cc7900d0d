"""Labelled images: a uint8 tensor in memory, or image files decoded on access; a folder of one's own images.

A folder's files are decoded in the same way as the service decodes an upload.
"""

import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from smoothcert.engines.hardware import usable_cpus
from smoothcert.errors import BadImage, InvalidRequest
from smoothcert.images.decode import FORMATS, read_image
from smoothcert.schemas.card import Preprocessing
from training.datasets import FOLDER, Split
from training.datasets.base import DatasetSpec
from training.datasets.class_tree import HELD_OUT, ClassTree

PREFETCH = 3  # batches decoded ahead of the one in use


@dataclass(frozen=True)
class DecodeFormat:
    """What files are decoded to. input_shape: (C, H, W)."""

    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class ImageFiles:
    """uint8 images (N, C, H, W), decoded on access in the same way as the service decodes an upload."""

    paths: Sequence[Path]
    format: DecodeFormat

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), *self.format.input_shape))

    def __getitem__(self, index: int) -> Tensor:
        """One image, (C, H, W). Raises InvalidRequest naming a file that cannot be decoded."""
        path = self.paths[index]
        try:
            image = read_image(path.read_bytes(), self.format)
        except (BadImage, OSError) as error:
            raise InvalidRequest(f"{path} can't be used: {error}") from error
        return torch.from_numpy(image.to_array().copy())

    def batches(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The images of each batch of indices, (B, C, H, W), decoded ahead in one thread per processor.

        Threads, not processes: decoding and resizing release the GIL, and pixels need no copy.
        """
        pool = ThreadPoolExecutor(usable_cpus())
        waiting: deque[list[Future[Tensor]]] = deque()
        try:
            for indices_B in batches:
                waiting.append([pool.submit(self.__getitem__, index) for index in indices_B.tolist()])
                if len(waiting) > PREFETCH:
                    yield _stacked(waiting.popleft())
            while waiting:
                yield _stacked(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def load_all(self) -> Tensor:
        """Every image in memory, (N, C, H, W)."""
        images_u8 = torch.empty(self.shape, dtype=torch.uint8)
        chunks = torch.arange(len(self)).split(16)  # type: ignore[no-untyped-call]
        for indices_B, images_BCHW in zip(chunks, self.batches(chunks), strict=True):
            images_u8[indices_B] = images_BCHW
        return images_u8


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    images_u8: uint8 (N, C, H, W). labels: int64 (N,), indices into class_names.
    input_shape: (C, H, W) of the network's input; a folder's training images may be larger, to be cropped.
    resize: length of the short side before the central crop; None if images have the input's size.
    files: one path per image, if images are files.
    summary: what was read from a folder and what was skipped, for the user.
    """

    name: str
    split: Split
    images_u8: Tensor | ImageFiles
    labels: Tensor
    class_names: tuple[str, ...]
    licence: str
    input_shape: tuple[int, int, int]
    resize: int | None = None
    files: tuple[Path, ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        assert isinstance(self.images_u8, ImageFiles) or self.images_u8.dtype == torch.uint8
        assert self.labels.dtype == torch.int64
        assert len(self.images_u8) == len(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """sha256 of everything that training sees: classes, labels, and file contents or pixels."""
        sha256 = hashlib.sha256(self._classes_and_labels())
        if self.files:
            with ThreadPoolExecutor(usable_cpus()) as pool:
                for file_digest in pool.map(_file_digest, self.files):
                    sha256.update(file_digest)
        else:
            assert isinstance(self.images_u8, Tensor)
            sha256.update(self.images_u8.contiguous().numpy().data)
        return sha256.hexdigest()

    @cached_property
    def listing(self) -> str | None:
        """sha256 of classes, labels, file names and sizes, without reading the files; None without files."""
        if not self.files:
            return None
        sha256 = hashlib.sha256(self._classes_and_labels())
        for path in self.files:
            sha256.update(f"{path.name!a} {path.stat().st_size}\n".encode())
        return sha256.hexdigest()

    def _classes_and_labels(self) -> bytes:
        return json.dumps([self.class_names, self.input_shape]).encode() + self.labels.numpy().tobytes()


def load_named(name: str, spec: DatasetSpec, split: Split, root: Path, *, download: bool) -> ImageSet:
    """One split of a named data set; see load_dataset."""
    try:
        with redirect_stdout(sys.stderr):  # torchvision prints what it downloads
            read = spec.read(root, train=split == "train", download=download)
    except (RuntimeError, OSError, HTTPException) as error:
        reason = "and can't be fetched from here" if download else "and fetching is switched off"
        raise InvalidRequest(
            f"{name} is not in {root} {reason}: name the folder that holds it, "
            "as torchvision lays it out, with --data-root."
        ) from error
    images_u8 = _channels_first(torch.as_tensor(read.data))
    return ImageSet(
        name=name,
        split=split,
        images_u8=images_u8,
        labels=torch.as_tensor(read.targets, dtype=torch.int64),
        class_names=spec.class_names,
        licence=spec.licence,
        input_shape=(images_u8.shape[1], images_u8.shape[2], images_u8.shape[3]),
    )


def _channels_first(images_u8: Tensor) -> Tensor:
    """(N, H, W) or (N, H, W, C) to contiguous (N, C, H, W)."""
    return images_u8[:, None] if images_u8.ndim == 3 else images_u8.movedim(-1, 1).contiguous()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _stacked(images: list[Future[Tensor]]) -> Tensor:
    return torch.stack([image.result() for image in images])


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
