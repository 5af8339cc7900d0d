"""Images that stay in their files until they are wanted: sets that no memory holds.

The pixels are those that reading everything at once would give, so nothing else depends on where they are.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from smoothcert.engines.hardware import usable_cpus
from smoothcert.errors import BadImage, InvalidRequest
from smoothcert.images.decode import read_image
from smoothcert.schemas.card import Preprocessing

AHEAD = 3  # batches that are being decoded while one is trained on


@dataclass(frozen=True)
class Frame:
    """Size and mode that files are decoded to. input_shape: (C, H, W)."""

    input_shape: tuple[int, int, int]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class ImageFiles:
    """uint8 images (N, C, H, W), each decoded when it is asked for, as the service decodes an upload."""

    paths: Sequence[Path]
    frame: Frame

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.paths), *self.frame.input_shape))

    def __getitem__(self, index: int) -> Tensor:
        """One image, (C, H, W). Raises InvalidRequest naming the file that isn't one."""
        path = self.paths[index]
        try:
            image = read_image(path.read_bytes(), self.frame)
        except (BadImage, OSError) as error:
            raise InvalidRequest(f"{path} can't be used: {error}") from error
        return torch.from_numpy(image.to_array().copy())

    def batches(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """The images of each batch of indices, (B, C, H, W), decoded ahead by a thread a usable processor.

        Threads and not processes: decoding and resizing release the interpreter, and pixels needn't be sent.
        """
        pool = ThreadPoolExecutor(usable_cpus())
        waiting: deque[list[Future[Tensor]]] = deque()
        try:
            for indices_B in batches:
                waiting.append([pool.submit(self.__getitem__, index) for index in indices_B.tolist()])
                if len(waiting) > AHEAD:
                    yield _stacked(waiting.popleft())
            while waiting:
                yield _stacked(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def all(self) -> Tensor:
        """Every image, in memory."""
        images_u8 = torch.empty(self.shape, dtype=torch.uint8)
        parts = torch.arange(len(self)).split(16)  # type: ignore[no-untyped-call]
        for part_B, images_BCHW in zip(parts, self.batches(parts), strict=True):
            images_u8[part_B] = images_BCHW
        return images_u8


Pixels = Tensor | ImageFiles


def _stacked(images: list[Future[Tensor]]) -> Tensor:
    return torch.stack([image.result() for image in images])
