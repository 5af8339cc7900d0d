"""The teacher of CAT-RS: a network trained with Gaussian noise, and its votes on every training image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    import torch

    from smoothcert.cli.checkpoints import Checkpoint
    from training.datasets.image_set import ImageSet
    from training.recipe import Recipe
    from training.vote_shares import VoteCount

TEACHER_SIGMA = 0.25  # published: one teacher for every noise level


@dataclass(frozen=True)
class Teaching:
    """Where a method's vote shares come from. teacher: name or folder; None: trained beside the run."""

    teacher: str | None = None
    votes: int = 10_000  # on each image, as published


def teacher_recipe(recipe: Recipe) -> Recipe:
    """Gaussian noise on the same data, network and schedule."""
    from training.methods import build_method

    gaussian = build_method("gaussian", recipe.dataset, TEACHER_SIGMA)
    return replace(recipe, method_name="gaussian", method=gaussian, method_options={}, micro_batch=None)


def teacher_folder(recipe: Recipe, folder: Path) -> Path:
    """The folder beside a run in which its teacher is trained: one for every noise level."""
    epochs = recipe.schedule.epochs
    return folder.parent / f"{recipe.dataset.split(':')[0]}-{recipe.architecture}-teacher-{epochs}"


def fitting_teacher(name: str, images: ImageSet) -> Checkpoint:
    """The teacher that the user named. Raises InvalidRequest: it is for other images."""
    from smoothcert.cli.checkpoints import find_checkpoint

    teacher = find_checkpoint(name)
    of_teacher = teacher.card.input_shape, len(teacher.card.labels)
    if of_teacher != (images.input_shape, len(images.class_names)):
        raise InvalidRequest(f"--teacher {teacher.card.name} takes other images, or has other classes.")
    return teacher


def vote_shares(teacher: Checkpoint, images: ImageSet, folder: Path, votes: int) -> torch.Tensor:
    """The teacher's vote shares on every training image: float32 (N, K), counted into a file beside `folder`.

    The count is resumed after a kill, and shared by all runs beside each other. Raises InvalidRequest.
    """
    import torch.distributed as dist

    from training.vote_shares import VoteCount, is_counted, read_shares

    count = VoteCount(teacher.card.weights_sha256, images.digest, teacher.card.sigma, votes)
    path = folder.parent / f"{teacher.card.name}-votes.safetensors"
    if not is_counted(path, count):
        if dist.is_torchelastic_launched():
            raise InvalidRequest("One process counts the teacher's votes: start without torchrun first.")
        note(f"counting {votes} votes of {teacher.card.name} on each of {len(images)} images")
        _count(teacher, images, count, path)
    return read_shares(path, count)


def _count(teacher: Checkpoint, images: ImageSet, count: VoteCount, path: Path) -> None:
    import torch

    from smoothcert.models.checkpoint import load_network
    from training.vote_shares import count_votes

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(teacher.folder, teacher.card)
    with progress_bar("votes an image") as update:
        for done in count_votes(network, images, count, path, device):
            update(done, count.votes, "")
