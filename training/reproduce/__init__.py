"""The published experiments: the tables and figures of Jeong & Shin (NeurIPS 2020) and of later methods.

published.py has their figures, references.py those that belong beside a measured row; comparison.py and
gaps.py make the tables and plots of `smoothcert reproduce`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from smoothcert.errors import InvalidRequest
from training.methods import defaults
from training.recipe import Recipe, build_recipe, run_name, shortened
from training.reproduce.published import ACR_BY_NOISES, ACR_BY_WEIGHT, Scores, paper_rows, printed_scores

Kind = Literal["table", "costs", "curves", "gaps"]
SIGMAS = (0.25, 0.5, 1.0)
LEGACY = {"form": "legacy"}
ABLATION = "MNIST, σ = 1"
FIXED_ATTACK = {"num_noises": 8, "steps": 10, "epsilon": 255.0}  # SmoothAdv without a search, on CIFAR-10
COLLAPSE = 40  # lambda at which the paper's classifier answers at random
RENAMED = {"mnist-supplement": "mnist-corrected"}


@dataclass(frozen=True)
class Arm:
    """One classifier of an experiment.

    label: its row in tables. options: those that differ from the published ones. architecture: None: the
    published one. group: title of its table, if data set and sigma do not identify it. key: of its logs'
    figures in training.reproduce.published, if that is not the label. printed: the paper's own figures.
    """

    label: str
    method: str
    dataset: str
    sigma: float
    options: dict[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    group: str = ""
    key: str = ""
    printed: Scores | None = None

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
        """The arms whose name contains one of `words`, or is it; all arms without words."""
        whole = {arm.name for arm in self.arms} & set(words)
        parts = set(words) - whole
        arms = tuple(
            arm
            for arm in self.arms
            if not words or arm.name in whole or any(word in arm.name for word in parts)
        )
        return replace(self, arms=arms)


def find_experiment(name: str) -> Experiment:
    """Raises InvalidRequest for a name that is not in EXPERIMENTS, with the new one for an old one."""
    if name in RENAMED:
        raise InvalidRequest(f"{name} is called {RENAMED[name]} now.")
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


def _paper_arms(table: str, dataset: str, sigma: float | None = None) -> tuple[Arm, ...]:
    """The rows of a printed table. sigma: of the whole table, where its rows have none."""
    arms: list[Arm] = []
    for row in paper_rows(table):
        architecture = row.get("architecture", "").lower().replace("-", "") or None
        fresh = not arms or arms[-1].architecture != architecture
        arm = _paper_arm(row["model"], dataset, sigma or row["sigma"], None if fresh else arms[-1])
        group = row.get("architecture", "")
        arms.append(replace(arm, architecture=architecture, group=group, printed=printed_scores(row)))
    return tuple(arms)


def _paper_arm(model: str, dataset: str, sigma: float, above: Arm | None) -> Arm:
    """One printed row. A row with `+` builds on the one above."""
    if model.startswith("+ Consistency"):
        assert above is not None
        weight = float(model.partition("=")[2].rstrip(" )") or 20)
        options = above.options | LEGACY | {"weight": weight}
        method = "smoothadv-consistency" if above.method == "smoothadv" else "consistency"
        label = f"{above.label.partition(' +')[0]} + Consistency (λ = {weight:g})"
        return Arm(label, method, dataset, sigma, options)
    if model.startswith("+"):
        best = defaults("smoothadv", dataset, sigma)
        return Arm(f"SmoothAdv {model}", "smoothadv", dataset, sigma, _attack(best))
    if model == "SmoothAdv":
        attack = FIXED_ATTACK if dataset == "cifar10" else _attack(defaults("smoothadv", dataset, sigma))
        return Arm(model, "smoothadv", dataset, sigma, attack)
    return Arm(model, model.removesuffix(" training").lower(), dataset, sigma)


def _attack(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in FIXED_ATTACK}


def _cost_arms() -> tuple[Arm, ...]:
    """Table 3's rows: SmoothAdv's is the one with the search."""
    table1 = {arm.label: arm for arm in TABLE1.arms if arm.sigma == 0.5}
    labels = ("Gaussian", "Gaussian + Consistency (λ = 20)", "SmoothAdv + Hyperparameter search", "MACER")
    return tuple(table1[label] for label in labels)


def _form_arm(form: str, weight: float) -> Arm:
    options = {"form": form, "weight": weight}
    group = f"{ABLATION}: form of the loss (a)"
    return Arm(f"{form}, λ = {weight:g}", "consistency", "mnist", 1.0, options, group=group)


def _noises_arm(noises: int, sigma: float) -> Arm:
    group = f"MNIST, σ = {sigma:g}: m (b)"
    return Arm(f"m = {noises}", "consistency", "mnist", sigma, {"num_noises": noises}, group=group)


def _weight_arm(weight: float) -> Arm:
    return Arm(f"λ = {weight:g}", "consistency", "mnist", 1.0, {"weight": weight}, group=f"{ABLATION}: λ (c)")


def _smoothmix_arms() -> tuple[Arm, ...]:
    light = tuple(
        Arm("smoothmix, η = 1", "smoothmix", "mnist", sigma, {"weight": 1.0}, key="smoothmix-weight-1")
        for sigma in SIGMAS
    )
    return (*_arms("mnist", ("smoothmix",)), *light, *_arms("fashion-mnist", ("smoothmix",)))


def _small_network_arms() -> tuple[Arm, ...]:
    group = "CIFAR-10, ResNet-20, σ = 0.5"
    return tuple(
        Arm(label, label, "cifar10", 0.5, architecture="resnet20", group=group, key=f"resnet20-{label}")
        for label in ("gaussian", "consistency")
    )


TABLE1 = Experiment(
    "table1",
    "Table 1: CIFAR-10, ResNet-110",
    "table",
    _paper_arms("table1_cifar10_resnet110", "cifar10"),
)
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        TABLE1,
        Experiment(
            "table2",
            "Table 2: ImageNet, ResNet-50, 500 images",
            "table",
            _paper_arms("table2_imagenet_resnet50_500_images", "imagenet"),
            every=100,
        ),
        Experiment(
            "table3", "Table 3: CIFAR-10, ResNet-110, sigma = 0.5: what training costs", "costs", _cost_arms()
        ),
        Experiment(
            "table4",
            "Table 4: CIFAR-10, ResNet-20 and DenseNet-40, sigma = 0.5",
            "table",
            _paper_arms("table4_cifar10_architectures_sigma_0.50", "cifar10", 0.5),
        ),
        Experiment(
            "figure1",
            "Figure 1: MNIST, sigma = 0.5, the log-probability gap under noise of one test image",
            "gaps",
            _arms("mnist", ("gaussian", "macer", "stability", "consistency"), (0.5,)),
        ),
        Experiment(
            "figure2",
            "Figure 2: CIFAR-10, ResNet-110, certified accuracy against radius",
            "curves",
            TABLE1.arms,
        ),
        Experiment(
            "figure3",
            "Figure 3: MNIST, LeNet, Consistency by form of the loss (a), by m (b), by lambda (c)",
            "curves",
            (
                _form_arm("legacy", 20.0),
                *(_form_arm(form, weight) for form in ("mse", "kl") for weight in (20.0, 50.0, 100.0)),
                *(_noises_arm(noises, sigma) for sigma in SIGMAS for noises in ACR_BY_NOISES),
                *(_weight_arm(weight) for weight in sorted([*ACR_BY_WEIGHT, COLLAPSE])),
            ),
        ),
        Experiment(
            "mnist",
            "Supplementary: MNIST, LeNet, Consistency as the paper printed it (`legacy`)",
            "table",
            _arms("mnist", ("gaussian", "stability", "smoothadv", "macer", "consistency-legacy")),
        ),
        Experiment(
            "mnist-corrected",
            "MNIST, LeNet, Consistency as its authors corrected it (`kl_entropy`), alone and with SmoothAdv",
            "table",
            _arms("mnist", ("consistency", "smoothadv-consistency")),
        ),
        Experiment(
            "cifar10-corrected",
            "CIFAR-10, Consistency as its authors corrected it (`kl_entropy`): ResNet-110 and ResNet-20",
            "table",
            (*_arms("cifar10", ("consistency", "smoothadv-consistency")), *_small_network_arms()),
        ),
        Experiment(
            "fashion-mnist",
            "Fashion-MNIST, LeNet (one seed)",
            "table",
            _arms("fashion-mnist", ("gaussian", "stability", "macer", "smoothadv", "consistency")),
        ),
        Experiment(
            "smoothmix", "SmoothMix (NeurIPS 2021): MNIST, Fashion-MNIST, LeNet", "table", _smoothmix_arms()
        ),
        Experiment(
            "cat-rs",
            "CAT-RS (AAAI 2023): MNIST, Fashion-MNIST, LeNet; CIFAR-10, ResNet-110",
            "table",
            tuple(arm for name in ("mnist", "fashion-mnist", "cifar10") for arm in _arms(name, ("cat-rs",))),
        ),
    )
}
