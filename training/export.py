"""From a finished run to a checkpoint folder that can be served."""

from pathlib import Path
from typing import Any, Literal

import torch

from smoothcert.models.checkpoint import save_checkpoint
from smoothcert.schemas.card import ModelCard, Preprocessing
from training.methods import hyperparameters
from training.recipe import Recipe
from training.trainer import Trainer

MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}


def run_name(recipe: Recipe) -> str:
    """<dataset>-<architecture>-<method>-<sigma>; a form other than the default joins the method's name."""
    form = recipe.method_options.get("form")
    method = recipe.method_name if form is None else f"{recipe.method_name}-{form}"
    dataset = recipe.dataset.split(":")[0]
    return f"{dataset}-{recipe.architecture}-{method}-{recipe.method.sigma:.2f}".replace("_", "-").lower()


def export_checkpoint(trainer: Trainer, folder: Path) -> ModelCard:
    """Write model.safetensors and card.json of a run as it stands now."""
    return save_checkpoint(folder, trainer.network, model_card(trainer, folder.name))


def model_card(trainer: Trainer, name: str) -> ModelCard:
    """All that is known of the run, short of its measured accuracy."""
    recipe, images = trainer.recipe, trainer.images
    channels, height, width = images.input_shape
    return ModelCard(
        name=name,
        architecture=recipe.architecture,
        dataset=recipe.dataset.split(":")[0],
        input_shape=(channels, height, width),
        labels=list(images.class_names),
        preprocessing=Preprocessing(
            mode=MODES[channels], resize=images.resize, mean=recipe.mean, std=recipe.std
        ),
        sigma=recipe.method.sigma,
        method=recipe.method_name,
        method_options=_options(recipe),
        training=_record(trainer),
        weights_sha256="0" * 64,  # save_checkpoint fills it in
        data_license=images.licence,
    )


def _options(recipe: Recipe) -> dict[str, Any]:
    options: dict[str, Any] = recipe.record()["method"]
    options.pop("sigma", None)
    return options


def _record(trainer: Trainer) -> dict[str, Any]:
    recipe, device = trainer.recipe, trainer.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    schedule: dict[str, Any] = recipe.record()["schedule"]
    return schedule | {
        "seed": recipe.seed,
        "initial": recipe.initial,
        "micro_batch": recipe.micro_batch,
        "precision": recipe.precision,
        "channels_last": recipe.channels_last,
        "compile": recipe.compile,
        "threads": torch.get_num_threads(),
        "epochs_done": trainer.position.epoch,
        "seconds": round(trainer.position.seconds, 1),
        "device": name,
        "torch": torch.__version__,
        "hyperparameters": hyperparameters(recipe.method),
        "peak_memory_mib": trainer.peak_memory_mib,
        "final_loss": trainer.records[-1].loss if trainer.records else None,
    }
