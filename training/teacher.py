"""The teacher of CAT-RS: a network trained with Gaussian noise, and its votes on noisy training images.

The share of votes for each class weighs the image in the loss. Counting them can take hours, so a killed
count goes on where it was saved.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.files import write_whole
from smoothcert.models.checkpoint import load_network
from smoothcert.progress import progress_bar
from smoothcert.schemas.card import ModelCard
from training.datasets.image_set import ImageSet
from training.methods import build_method
from training.methods.base import repeat_with_noise
from training.recipe import Recipe

TEACHER_SIGMA = 0.25  # published: one teacher for every noise level
BATCH = 512  # images of one forward pass
SAVE_EVERY = 60.0  # seconds
SEED = 0x5EED  # with the round it seeds the noise, so that a round is the same after a kill


@dataclass(frozen=True)
class Teaching:
    """Where a method's vote shares come from. teacher: name or folder; None: trained beside the run."""

    teacher: str | None = None
    votes: int = 10_000  # on each image, as published


def teacher_recipe(recipe: Recipe) -> Recipe:
    """Gaussian noise on the same data, network and schedule."""
    gaussian = build_method("gaussian", recipe.dataset, TEACHER_SIGMA)
    return replace(recipe, method_name="gaussian", method=gaussian, method_options={}, micro_batch=None)


def teacher_folder(recipe: Recipe, folder: Path) -> Path:
    """The folder beside a run in which its teacher is trained: one for every noise level."""
    epochs = recipe.schedule.epochs
    return folder.parent / f"{recipe.dataset.split(':')[0]}-{recipe.architecture}-teacher-{epochs}"


def require_same_images(teacher: ModelCard, images: ImageSet) -> None:
    """Raises InvalidRequest if the teacher takes other images or has other classes."""
    if (teacher.input_shape, len(teacher.labels)) != (images.input_shape, len(images.class_names)):
        raise InvalidRequest(f"--teacher {teacher.name} takes other images, or has other classes.")


@dataclass(frozen=True)
class VoteCount:
    """Who votes on what.

    weights_sha256, data: digests of the network and the images. votes: noisy copies of each image.
    """

    weights_sha256: str
    data: str
    sigma: float
    votes: int

    @property
    def metadata(self) -> dict[str, str]:
        return {"weights": self.weights_sha256, "data": self.data, "sigma": repr(self.sigma)}


def vote_shares(
    teacher: Path, card: ModelCard, images: ImageSet, *, run: Path, votes: int, note: Callable[[str], None]
) -> Tensor:
    """The vote shares of a teacher's checkpoint on every training image: float32 (N, K).

    They are counted into a file beside the run's folder, shared by all runs there. note: called with what is
    done before it takes long. Raises InvalidRequest.
    """
    count = VoteCount(card.weights_sha256, images.digest, card.sigma, votes)
    path = run.parent / f"{card.name}-votes.safetensors"
    if not is_counted(path, count):
        if dist.is_torchelastic_launched():
            raise InvalidRequest("One process counts the teacher's votes: start without torchrun first.")
        note(f"counting {votes} votes of {card.name} on each of {len(images)} images")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with progress_bar("votes an image") as update:
            for done in count_votes(load_network(teacher, card), images, count, path, device):
                update(done, votes, "")
    return read_shares(path, count)


def shares_digest(shares_NK: Tensor) -> str:
    """sha256 of the shares: part of the recipe, so that a run resumes only with the same ones."""
    return hashlib.sha256(shares_NK.contiguous().numpy().tobytes()).hexdigest()


def is_counted(path: Path, count: VoteCount) -> bool:
    """Whether the file holds all votes. Raises InvalidRequest if it is of another network or other images."""
    return path.exists() and _read(path, count)[1] >= count.votes


def count_votes(
    network: nn.Module, images: ImageSet, count: VoteCount, path: Path, device: torch.device
) -> Iterator[int]:
    """Count until the file holds all votes; yields the votes per image so far.

    images: without augmentation; larger ones are cropped in the middle. Raises InvalidRequest.
    """
    shape = (len(images.labels), len(images.class_names))
    counts_NK, done = _read(path, count) if path.exists() else (torch.zeros(shape, dtype=torch.int32), 0)
    network = network.to(device).eval()
    saved = time.monotonic()
    for number in range(done, count.votes):
        generator = torch.Generator(device).manual_seed(SEED + number)
        for indices_B, images_BCHW in _batches(images, device):
            with torch.inference_mode():
                answers_B = network(repeat_with_noise(images_BCHW, 1, count.sigma, generator)).argmax(-1)
            counts_NK[indices_B, answers_B.cpu()] += 1
        if time.monotonic() - saved > SAVE_EVERY or number + 1 == count.votes:
            metadata = count.metadata | {"votes": str(number + 1)}
            write_whole(path, save({"counts": counts_NK}, metadata))
            saved = time.monotonic()
        yield number + 1


def read_shares(path: Path, count: VoteCount) -> Tensor:
    """p of every image: float32 (N, K). Raises InvalidRequest if the count is not complete."""
    counts_NK, votes = _read(path, count)
    if votes < count.votes:
        raise InvalidRequest(f"{path} holds {votes} of {count.votes} votes an image; count on first.")
    return counts_NK.float() / votes


def _read(path: Path, count: VoteCount) -> tuple[Tensor, int]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, counts_NK = file.metadata(), file.get_tensor("counts")
    except (OSError, SafetensorError) as error:
        raise InvalidRequest(f"{path} can't be read as vote counts: {error}") from error
    if any(metadata.get(name) != value for name, value in count.metadata.items()):
        raise InvalidRequest(
            f"{path} holds the votes of another network or on other images; remove it, or give another --out."
        )
    return counts_NK, int(metadata["votes"])


def _batches(images: ImageSet, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices and images as float32 (B, C, H, W) in [0,1], cropped to the network's input."""
    indices = torch.arange(len(images.labels)).split(BATCH)  # type: ignore[no-untyped-call]
    held = images.images_u8
    loaded = (held[part] for part in indices) if isinstance(held, Tensor) else held.batches(indices)
    _, height, width = images.input_shape
    for part, images_u8 in zip(indices, loaded, strict=True):
        top, left = (images_u8.shape[-2] - height) // 2, (images_u8.shape[-1] - width) // 2
        middle_u8 = images_u8[..., top : top + height, left : left + width]
        yield part, middle_u8.to(device).float().div_(255)
