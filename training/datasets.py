"""The data sets training and evaluation know: uint8 tensors in memory, or image files."""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from smoothcert.engines.hardware import usable_cpus
from smoothcert.errors import InvalidRequest
from training.folders import read_folder
from training.sources import SOURCES, find_source
from training.sources.base import Source
from training.streaming import ImageFiles, Pixels

Split = Literal["train", "test"]
FOLDER = "folder:"


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes.

    images_u8: uint8 (N, C, H, W), in memory or still in files; labels: int64 (N,), indices of class_names.
    input_shape: (C, H, W) of the network's input; a folder's training images may be larger, to be cropped.
    resize: short side before the central crop to input_shape; None where images come in that size.
    files: of the images, where each has one of its own.
    summary: what was taken of a folder and what left out, for people.
    """

    name: str
    split: Split
    images_u8: Pixels
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
        """Of all that training sees: classes, labels, and the contents of every file, or the pixels."""
        said = hashlib.sha256(self._labelled())
        if self.files:
            with ThreadPoolExecutor(usable_cpus()) as pool:
                for one in pool.map(_file_digest, self.files):
                    said.update(one)
        else:
            assert isinstance(self.images_u8, Tensor)
            said.update(self.images_u8.contiguous().numpy().data)
        return said.hexdigest()

    @cached_property
    def listing(self) -> str | None:
        """A digest of classes, labels, and names and sizes of the files, which reads none of them."""
        if not self.files:
            return None
        said = hashlib.sha256(self._labelled())
        for path in self.files:
            said.update(f"{path.name!a} {path.stat().st_size}\n".encode())
        return said.hexdigest()

    def _labelled(self) -> bytes:
        return json.dumps([self.class_names, self.input_shape]).encode() + self.labels.numpy().tobytes()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def load_dataset(
    name: str,
    split: Split,
    root: Path,
    *,
    download: bool = True,
    size: int | None = None,
    stream: bool | None = None,
) -> ImageSet:
    """One split of a data set by name: one of SOURCES or folder:PATH.

    root: where torchvision's files lie, or are put when `download` is true; not used by folders.
    size: side of a folder's images in pixels; without it their own where all are alike and square, else 224.
    stream: a folder's images stay in their files; None: where memory doesn't hold them.
    Raises InvalidRequest when there is no such data set, or its files are absent and can't be fetched.
    """
    if name.startswith(FOLDER):
        return _from_folder(name, split, size, stream)
    source = find_source(name)
    if source is None:
        known = ", ".join(SOURCES)
        raise InvalidRequest(f"There is no data set {name!r}; there are: {known} and {FOLDER}PATH.")
    if size is not None:
        raise InvalidRequest(f"{name} has images of one size; only a folder's can be chosen.")
    return _from_source(name, source, split, root, download)


def _from_source(name: str, source: Source, split: Split, root: Path, download: bool) -> ImageSet:
    try:
        with redirect_stdout(sys.stderr):  # where torchvision says what it fetches
            files = source.read(root, train=split == "train", download=download)
    except (RuntimeError, OSError, HTTPException) as error:
        reason = "and can't be fetched from here" if download else "and fetching is switched off"
        raise InvalidRequest(
            f"{name} is not in {root} {reason}: name the folder that holds it, "
            "as torchvision lays it out, with --data-root."
        ) from error
    images_u8 = _channels_first(torch.as_tensor(files.data))
    return ImageSet(
        name=name,
        split=split,
        images_u8=images_u8,
        labels=torch.as_tensor(files.targets, dtype=torch.int64),
        class_names=source.class_names,
        licence=source.licence,
        input_shape=(images_u8.shape[1], images_u8.shape[2], images_u8.shape[3]),
    )


def _channels_first(images_u8: Tensor) -> Tensor:
    """(N, H, W) or (N, H, W, C) to contiguous (N, C, H, W)."""
    return images_u8[:, None] if images_u8.ndim == 3 else images_u8.movedim(-1, 1).contiguous()


def _from_folder(name: str, split: Split, size: int | None, stream: bool | None) -> ImageSet:
    folder = read_folder(Path(name.removeprefix(FOLDER)), split, size, stream=stream)
    return ImageSet(
        name=name,
        split=split,
        images_u8=folder.images_u8,
        labels=folder.labels,
        class_names=folder.class_names,
        licence="the images' owner's",
        input_shape=folder.input_shape,
        resize=folder.resize,
        files=folder.files,
        summary=folder.summary,
    )
