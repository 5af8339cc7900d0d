"""The paper's tables and figures as declared experiments (Jeong & Shin, NeurIPS 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from smoothcert.errors import InvalidRequest
from training.recipe import Recipe, build_recipe, run_name, shortened
from training.reproduce.published import ACR_BY_NOISES, ACR_BY_WEIGHT

Kind = Literal["table", "costs", "curves", "gaps"]
SIGMAS = (0.25, 0.5, 1.0)
LEGACY = {"form": "legacy"}
ABLATION = "MNIST, σ = 1"
FORMS = ("kl_entropy", "legacy", "xent", "kl", "mse")


@dataclass(frozen=True)
class Arm:
    """One classifier of an experiment.

    label: its row in tables. options: those that differ from the published ones. architecture: None: the
    published one. group: title of its table, if data set and sigma do not identify it.
    """

    label: str
    method: str
    dataset: str
    sigma: float
    options: dict[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    group: str = ""

    def recipe(self, dataset_name: str, scale: float = 1.0, channels: int | None = None) -> Recipe:
        """Its training run on the data set called `dataset_name`, for the share `scale` of the epochs."""
        known = build_recipe(
            *(self.method, self.dataset, self.sigma),
            options=self.options,
            channels=channels or (1 if "mnist" in self.dataset else 3),
            arch=self.architecture,
        )
        recipe = replace(known, dataset=dataset_name)
        return recipe if scale == 1 else _scaled(recipe, scale)

    @property
    def name(self) -> str:
        """The checkpoint's name: that of bundled models, then the options that differ, except the form."""
        recipe = self.recipe(self.dataset)
        default = replace(self, options={k: v for k, v in self.options.items() if k == "form"})
        usual = default.recipe(self.dataset).method
        changed = [
            f"{f.name}-{value:g}"
            for f in fields(recipe.method)
            if (value := getattr(recipe.method, f.name)) != getattr(usual, f.name)
        ]
        return "-".join([run_name(recipe), *changed]).replace("_", "-")


@dataclass(frozen=True)
class Experiment:
    """A table or figure. every: by default, each every-th test image is certified."""

    name: str
    title: str
    kind: Kind
    arms: tuple[Arm, ...]
    every: int = 20

    def only(self, words: Sequence[str]) -> "Experiment":
        """The arms whose name contains one of `words`; all arms without words."""
        arms = tuple(arm for arm in self.arms if not words or any(word in arm.name for word in words))
        return replace(self, arms=arms)


def find_experiment(name: str) -> Experiment:
    """Raises InvalidRequest for a name that is not in EXPERIMENTS."""
    if name not in EXPERIMENTS:
        raise InvalidRequest(f"There is no experiment {name!r}; there are: {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


def _scaled(recipe: Recipe, scale: float) -> Recipe:
    """Fewer epochs; options counted in epochs shrink too."""
    epochs = max(1, round(recipe.schedule.epochs * scale))
    method = recipe.method
    if hasattr(method, "warmup"):
        method = replace(method, **{"warmup": round(method.warmup * scale)})
    return replace(recipe, method=method, schedule=shortened(recipe.schedule, epochs))


def _arms(dataset: str, labels: tuple[str, ...], sigmas: tuple[float, ...] = SIGMAS) -> tuple[Arm, ...]:
    """One arm per label and noise level; the suffix -legacy is a form of consistency."""
    return tuple(
        Arm(label, label.removesuffix("-legacy"), dataset, sigma, LEGACY if label.endswith("-legacy") else {})
        for sigma in sigmas
        for label in labels
    )


def _form_arm(form: str) -> Arm:
    options = {} if form == "kl_entropy" else {"form": form}
    label = "-".join(["consistency", *options.values()])
    return Arm(label, "consistency", "mnist", 1.0, options, group=f"{ABLATION}: form of the loss")


def _option_arm(option: str, symbol: str, value: float) -> Arm:
    group = f"{ABLATION}: {symbol}"
    return Arm(f"{symbol} = {value:g}", "consistency", "mnist", 1.0, {option: value}, group=group)


TABLE1 = Experiment(
    "table1",
    "MNIST, LeNet: the methods beside each other, Consistency as the paper printed it (`legacy`)",
    "table",
    _arms("mnist", ("gaussian", "stability", "smoothadv", "macer", "consistency-legacy")),
)
MNIST_SUPPLEMENT = Experiment(
    "mnist-supplement",
    "MNIST, LeNet: Consistency as its authors corrected it (`kl_entropy`), alone and with SmoothAdv",
    "table",
    _arms("mnist", ("consistency", "smoothadv-consistency")),
)
TABLE2 = Experiment(
    "table2",
    "CIFAR-10, ResNet-110: the methods beside each other",
    "table",
    _arms(
        "cifar10",
        (
            *("gaussian", "stability", "smoothadv", "macer"),
            *("consistency-legacy", "consistency", "smoothadv-consistency"),
        ),
    ),
)
TABLE3 = Experiment(
    "table3",
    "CIFAR-10, ResNet-110, sigma = 0.5: what training costs",
    "costs",
    _arms("cifar10", ("gaussian", "consistency", "macer", "smoothadv"), (0.5,)),
)
TABLE4 = Experiment(
    "table4",
    "ImageNet, ResNet-50, 500 images; its class folders are looked for in imagenet/ below --data-root",
    "table",
    _arms("imagenet", ("gaussian", "consistency", "smoothadv"), (0.5, 1.0)),
    every=100,
)
FASHION_MNIST = Experiment(
    "fashion-mnist",
    "Fashion-MNIST, LeNet: the methods beside each other (one seed)",
    "table",
    _arms("fashion-mnist", ("gaussian", "stability", "macer", "smoothadv", "consistency")),
)
FIGURE1 = Experiment(
    "figure1",
    "MNIST, sigma = 0.5: the log-probability gap under noise of one test image",
    "gaps",
    _arms("mnist", ("gaussian", "stability", "consistency"), (0.5,)),
)
FIGURE2 = Experiment(
    "figure2",
    "MNIST, LeNet: certified accuracy against radius for all methods",
    "curves",
    TABLE1.arms + MNIST_SUPPLEMENT.arms,
)
FIGURE3 = Experiment(
    "figure3",
    "MNIST, LeNet, sigma = 1: Consistency by form of the loss, by number of noises m, by weight lambda",
    "curves",
    (
        *map(_form_arm, FORMS),
        *(_option_arm("num_noises", "m", m) for m in ACR_BY_NOISES),
        *(_option_arm("weight", "λ", weight) for weight in ACR_BY_WEIGHT),
    ),
)
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        *(TABLE1, MNIST_SUPPLEMENT, TABLE2, TABLE3, TABLE4, FASHION_MNIST),
        *(FIGURE1, FIGURE2, FIGURE3),
    )
}
