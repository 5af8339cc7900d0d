"""From a recipe to a checkpoint folder, with a progress bar."""

from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.output import note
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from certification.contract.card import ModelCard
    from training.datasets import ImageSet
    from training.initial import Initial
    from training.recipe import Recipe
    from training.session import Session


def fit(
    recipe: "Recipe", images: "ImageSet", folder: Path, *, resume: bool, initial: "Initial | None" = None
) -> "ModelCard | None":
    """Train, or go on with what a kill left, on the GPU where there is one; ends in a checkpoint.

    Under torchrun all processes train it together; the card comes back from the first, None from the others.
    """
    from certification.hardware import heed_quota
    from training.distributed import is_first, together
    from training.memory import keep_freed_memory
    from training.session import Session
    from training.trainer import Trainer

    heed_quota()
    keep_freed_memory()
    with together() as device:
        if images.summary and is_first():
            note(images.summary)
        trainer = Trainer(recipe, images, device)
        if initial is not None:
            trainer.start_from(initial.fitted(trainer.network))
        session = Session(trainer, folder, resume=resume)
        _run(session, shown=is_first())
        card = session.export()
        return card if is_first() else None


def _run(session: "Session", *, shown: bool) -> None:
    trainer = session.trainer
    per_epoch, epochs = trainer.steps_per_epoch, trainer.recipe.schedule.epochs
    with progress_bar("steps", shown=shown) as update:
        for position in session.train():
            loss = f"loss {trainer.records[-1].loss:.3f}" if trainer.records else ""
            said = f"epoch {position.epoch + 1} of {epochs} {loss}"
            update(position.epoch * per_epoch + position.step, epochs * per_epoch, said)
