"""smoothcert train: train a base classifier by one of the published methods."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoothcert.cli.options import Dataset
from smoothcert.cli.output import note, show
from smoothcert.errors import InvalidRequest
from smoothcert.progress import StepTimer, progress_bar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from smoothcert.cli.checkpoints import FrozenModel
    from smoothcert.schemas.card import ModelCard
    from training.datasets.image_set import ImageSet
    from training.pretrained import PretrainedWeights
    from training.recipe import Recipe
    from training.run import TrainingRun
    from training.teacher import Teaching


PrecisionOption = Literal["auto", "float32", "bfloat16"]
PRECISION = "Of autocast; `auto` times a few steps and takes the fastest."  # help of the option
MEASURED = ("precision", "channels_last", "compile")  # fields of a recipe that are measured
TEACHER_VOTES = 10_000  # of each image, as published
METHOD_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}  # the method's own fields

Arch = Annotated[str | None, typer.Option(help="Network; else the one published for the data set.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Else as published; the learning rate drops in proportion.")
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="The checkpoint folder.  [default: runs/NAME]")]
Stream = Annotated[
    bool | None,
    typer.Option(help="Decode a folder's images as they are needed.  [default: if memory is short]"),
]
MicroBatch = Annotated[
    int | None, typer.Option(min=1, help="Images of one forward pass; else all of a step's.")
]
Teacher = Annotated[
    str | None,
    typer.Option(help="Of cat-rs: whose votes weigh the images.  [default: one is trained beside --out]"),
]
TeacherVotes = Annotated[
    int, typer.Option(min=1, help="Of cat-rs: the teacher's votes on each training image.")
]
ClassifierOption = Annotated[
    str | None,
    typer.Option("--classifier", metavar="MODEL", help="Of denoiser: the model that it is trained for."),
]
Init = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Weights to start from: checkpoint, safetensors, .pt.")
]


def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="How; they are listed below.")],
    *,
    dataset: Dataset,
    sigma: Annotated[float, typer.Option(help="Noise level, pixels in [0,1].")],
    arch: Arch = None,
    epochs: Epochs = None,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run after a kill.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and noise.")] = 0,
    size: Annotated[int | None, typer.Option(min=1, help="Side of a folder's images, in pixels.")] = None,
    stream: Stream = None,
    precision: Annotated[PrecisionOption, typer.Option(help=PRECISION)] = "auto",
    micro_batch: MicroBatch = None,
    init: Init = None,
    new_head: Annotated[bool, typer.Option("--new-head", help="The last layer starts fresh.")] = False,
    teacher: Teacher = None,
    teacher_votes: TeacherVotes = TEACHER_VOTES,
    classifier: ClassifierOption = None,
) -> None:
    """Train a base classifier, or a denoiser before a classifier that stays as it is.

    Options of the method itself, as `--weight` of consistency, are given as --NAME VALUE. They start from
    what is published for the data set. One that the method doesn't have is answered with those it has.
    Started by torchrun, several processes, one a GPU, train one network together.
    """
    use_passive_waiting()
    from smoothcert.cli.checkpoints import classifier_for
    from training.pretrained import PretrainedWeights
    from training.recipe import build_recipe, parse_options, run_name
    from training.run import prepare_run_folder
    from training.teacher import Teaching

    if out is not None:
        prepare_run_folder(out, resume=resume)
    options = parse_options(method, context.args)
    frozen = classifier_for(method, classifier, arch)
    initial = None if init is None else PretrainedWeights.read(_init(init), new_head=new_head)
    images = _training_images(dataset, data_root, size, stream, frozen)
    recipe = build_recipe(
        *(method, dataset, sigma),
        options=options,
        channels=images.input_shape[0],
        arch=arch,
        epochs=epochs,
        seed=seed,
        micro_batch=micro_batch,
        initial=initial.digest if initial else None,
        classifier=frozen.record if frozen else None,
    )
    if frozen is not None:
        frozen.warn()
    folder = out or Path("runs") / run_name(recipe)
    if teacher is not None and not recipe.method.uses_vote_shares:
        raise InvalidRequest(f"--teacher is an option of cat-rs alone; {method} has none.")
    teaching = Teaching(teacher, teacher_votes)
    card = fit(
        *(recipe, images, folder),
        resume=resume,
        initial=initial,
        precision=precision,
        teaching=teaching,
        classifier=frozen.network() if frozen else None,
    )
    if card is not None:
        text = (
            f"loss {card.training['final_loss']}, {card.training['seconds']} s, {card.training['precision']}"
        )
        show(f"{card.name}: {folder}, {text}")


def _init(path: Path) -> Path:
    """The file or folder of `--init`, or the folder of the model of this name."""
    from smoothcert.cli.settings import settings

    registry = settings().registry
    return registry.folder(path.name) if not path.exists() and str(path) in registry.names() else path


def _training_images(
    dataset: str, root: Path, size: int | None, stream: bool | None, frozen: FrozenModel | None
) -> ImageSet:
    """The training split. Raises InvalidRequest: it is not there, or does not fit the frozen classifier."""
    from training.datasets import FOLDER, load_dataset

    if frozen and size is None and dataset.startswith(FOLDER):
        size = frozen.card.input_shape[1]
    images = load_dataset(dataset, "train", root, size=size, stream=stream)
    if frozen:
        frozen.require_fitting(dataset, images)
    return images


def use_passive_waiting() -> None:
    """Let OpenMP threads sleep while waiting (OMP_WAIT_POLICY). Call it before PyTorch is loaded.

    By default they spin. If other processes use the processors, spinning delays the thread that is waited
    for, and steps take several times as long. A value set by the user stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def fit(
    recipe: Recipe,
    images: ImageSet,
    folder: Path,
    *,
    resume: bool,
    initial: PretrainedWeights | None = None,
    precision: PrecisionOption = "auto",
    teaching: Teaching | None = None,
    classifier: nn.Module | None = None,
) -> ModelCard | None:
    """Train or resume a run, on a GPU if there is one, and export the checkpoint.

    precision: `auto` measures which one is fastest, with memory format and compiling; a resumed run keeps its
    own. teaching: of a method that uses vote shares; else it is unused. classifier: of a recipe that has one.
    Under torchrun all processes train together; the first returns the card, the others None.
    """
    from smoothcert.engines.hardware import limit_threads_to_quota
    from training.distributed import is_main_process, process_group
    from training.run import STATE_FILE, TrainingRun, prepare_run_folder
    from training.step import keep_freed_memory
    from training.teacher import shares_digest
    from training.trainer import Trainer

    limit_threads_to_quota()
    keep_freed_memory()
    shares_NK = _shares(recipe, images, folder, teaching, precision)
    if shares_NK is not None:
        recipe = replace(recipe, vote_shares=shares_digest(shares_NK))
    with process_group() as device:
        if images.summary and is_main_process():
            note(images.summary)
        prepare_run_folder(folder, resume=resume)
        recipe = _decided(recipe, images, device, precision, folder / STATE_FILE, classifier)
        trainer = Trainer(recipe, images, device, shares_NK, classifier)
        if initial is not None:
            trainer.start_from(initial.fitted(trainer.network))
        session = TrainingRun(trainer, folder, resume=resume)
        _run(session, shown=is_main_process())
        card = session.export()
        return card if is_main_process() else None


def _shares(
    recipe: Recipe, images: ImageSet, folder: Path, teaching: Teaching | None, precision: PrecisionOption
) -> torch.Tensor | None:
    """The vote shares that the method uses, if it does; a teacher that nobody named is trained first."""
    from smoothcert.cli.checkpoints import find_checkpoint
    from smoothcert.models.registry import CARD_FILE, read_card
    from training.run import STATE_FILE
    from training.teacher import Teaching, require_same_images, teacher_folder, teacher_recipe, vote_shares

    if not recipe.method.uses_vote_shares:
        return None
    teaching = teaching or Teaching()
    if teaching.teacher is not None:
        teacher = find_checkpoint(teaching.teacher)
        require_same_images(teacher.card, images)
        return vote_shares(teacher.folder, teacher.card, images, run=folder, votes=teaching.votes, note=note)
    beside = teacher_folder(recipe, folder)
    if not (beside / CARD_FILE).is_file():
        note(f"training the teacher {beside.name}: Gaussian noise, sigma = 0.25")
        resume = (beside / STATE_FILE).exists()
        fit(teacher_recipe(recipe), images, beside, resume=resume, precision=precision)
    return vote_shares(beside, read_card(beside), images, run=folder, votes=teaching.votes, note=note)


def _decided(  # noqa: PLR0917
    recipe: Recipe,
    images: ImageSet,
    device: torch.device,
    precision: PrecisionOption,
    state: Path,
    classifier: nn.Module | None,
) -> Recipe:
    """The recipe with its precision: as given, as in the saved `state`, or as measured."""
    from training.autotune import autotune
    from training.distributed import is_main_process
    from training.run import saved_recipe

    if state.exists():
        # A state omits default values.
        kept = {name: value for name, value in saved_recipe(state).items() if name in MEASURED}
        recipe = replace(recipe, **kept)
    if precision != "auto":
        return replace(recipe, precision=precision)
    if state.exists():
        decided, text = recipe, f"going on in {recipe.execution}, as the run began"
    else:
        tuned = autotune(recipe, images, device, classifier)
        decided, text = tuned.best.recipe, f"training in {tuned}"
    if is_main_process():
        note(text)
    return decided


def _run(session: TrainingRun, *, shown: bool) -> None:
    trainer = session.trainer
    per_epoch, epochs = trainer.steps_per_epoch, trainer.recipe.schedule.epochs
    pace = StepTimer()
    with progress_bar("steps", shown=shown) as update:
        for position in session.train():
            loss = f" loss {trainer.records[-1].loss:.3f}" if trainer.records else ""
            text = f"epoch {position.epoch + 1} of {epochs}{loss}"
            done = position.epoch * per_epoch + position.step
            update(done, epochs * per_epoch, text, milestone=position.step == per_epoch)
            if shown and (slower := pace.step(time.monotonic())):
                note(slower)
