"""What an experiment is: classifiers to train and certify, and what was published of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from training.export import run_name
from training.options import build_recipe
from training.recipe import Recipe

Kind = Literal["table", "costs", "curves", "gaps"]


@dataclass(frozen=True)
class Figures:
    """What certifying one classifier gave.

    acr: l2, pixels in [0,1]. accuracy: certified accuracy in % at RADII, empty where not published.
    """

    acr: float
    accuracy: tuple[float, ...] = ()


@dataclass(frozen=True)
class Arm:
    """One classifier of an experiment. label: the row it is in tables. options: beside the published ones."""

    label: str
    method: str
    dataset: str
    sigma: float
    options: dict[str, Any] = field(default_factory=dict)
    architecture: str | None = None  # else the one published for the data set
    group: str = ""  # heads the table it belongs to, where the data set and sigma don't say enough

    def recipe(self, images_at: str, scale: float = 1.0, channels: int | None = None) -> Recipe:
        """Its training run on the data set called `images_at`, with the share `scale` of the epochs."""
        known = build_recipe(
            *(self.method, self.dataset, self.sigma),
            options=self.options,
            channels=channels or (1 if "mnist" in self.dataset else 3),
            arch=self.architecture,
        )
        recipe = replace(known, dataset=images_at)
        return recipe if scale == 1 else _shortened(recipe, scale)

    @property
    def name(self) -> str:
        """The checkpoint's, as bundled ones are named; options beside the form are written behind it."""
        recipe = self.recipe(self.dataset)
        default = replace(self, options={k: v for k, v in self.options.items() if k == "form"})
        usual = default.recipe(self.dataset).method
        unusual = [
            f"{f.name}-{value:g}"
            for f in fields(recipe.method)  # type: ignore[arg-type]
            if (value := getattr(recipe.method, f.name)) != getattr(usual, f.name)
        ]
        return "-".join([run_name(recipe), *unusual]).replace("_", "-")


@dataclass(frozen=True)
class Experiment:
    """A table or figure. every: every k-th test image is certified unless the user says otherwise."""

    name: str
    title: str
    kind: Kind
    arms: tuple[Arm, ...]
    every: int = 20

    def only(self, words: Sequence[str]) -> "Experiment":
        """The arms whose name holds one of `words`; all of them where there are none."""
        arms = tuple(arm for arm in self.arms if not words or any(word in arm.name for word in words))
        return replace(self, arms=arms)


def _shortened(recipe: Recipe, scale: float) -> Recipe:
    """Fewer epochs; what a method counts in epochs shrinks alike."""
    from training.options import shortened  # noqa: PLC0415

    epochs = max(1, round(recipe.schedule.epochs * scale))
    method = recipe.method
    if hasattr(method, "warmup"):
        method = replace(method, warmup=round(method.warmup * scale))  # type: ignore[type-var]
    return replace(recipe, method=method, schedule=shortened(recipe.schedule, epochs))
