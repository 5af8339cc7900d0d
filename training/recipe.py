"""A recipe: everything that decides a run's weights, in one frozen value."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import build_denoised, build_network
from smoothcert.models.registry import DenoisedArchitecture
from training.datasets.base import DELAY, DatasetDefaults, Schedule, dataset_defaults, published_schedule
from training.datasets.image_set import ImageSet
from training.methods import build_method, find_method, written
from training.methods.base import Method
from training.methods.denoiser import Denoiser

Precision = Literal["float32", "bfloat16"]
YES, NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class FrozenClassifier:
    """The classifier behind the denoiser that is trained.

    sha256: of everything that decides its answers. mean, std, resize: of its preprocessing, as in cards.
    """

    name: str
    sha256: str
    architecture: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    resize: int | None = None

    def record(self) -> dict[str, Any]:
        """For the card of the pair, which holds the rest itself."""
        return {"name": self.name, "sha256": self.sha256}


@dataclass(frozen=True)
class Recipe:
    """One training run. The same recipe on the same CPU gives the same weights, bit for bit.

    mean, std: per channel, pixels in [0,1]. precision: bfloat16 under autocast (slow on processors without
    it). channels_last: memory format, else contiguous. compile: the residual blocks; needs a C++ compiler, on
    CUDA Triton. micro_batch: images per forward pass, if a whole step does not fit into memory. initial:
    digest of the pretrained weights; None: fresh weights. vote_shares: digest of those that the method uses.
    classifier: the one that a denoiser is trained for.
    """

    method_name: str
    method: Method
    dataset: str
    architecture: str
    schedule: Schedule
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int = 0
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False
    micro_batch: int | None = None
    initial: str | None = None
    vote_shares: str | None = None
    classifier: FrozenClassifier | None = None
    method_options: dict[str, Any] = field(default_factory=dict)

    @property
    def execution(self) -> str:
        """What affects speed but not the method: for example `bfloat16/channels-last/compiled`."""
        layout = "channels-last" if self.channels_last else "contiguous"
        return "/".join([self.precision, layout, *(["compiled"] if self.compile else [])])

    def record(self) -> dict[str, Any]:
        """The recipe as plain values: compared when a run resumes, and written into the card.

        Newer fields are left out at their defaults, so that older states still match.
        """
        values = asdict(self)
        if self.schedule.late == DELAY:
            del values["schedule"]["late"]
        if self.schedule.optimizer == "sgd":
            del values["schedule"]["optimizer"]
        if self.channels_last:
            del values["channels_last"]
        for name in ("vote_shares", "classifier"):
            if values[name] is None:
                del values[name]
        return values


def build_recipe(
    method: str,
    dataset: str,
    sigma: float,
    *,
    options: dict[str, Any],
    channels: int = 1,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    micro_batch: int | None = None,
    initial: str | None = None,
    classifier: FrozenClassifier | None = None,
) -> Recipe:
    """The published recipe for this method and data set, changed by the arguments. Raises InvalidRequest.

    classifier: given if and only if the method needs one.
    """
    known, schedule = dataset_defaults(dataset), published_schedule(method, dataset)
    mean, std = (classifier.mean, classifier.std) if classifier else _normalisation(known, channels)
    built = build_method(method, dataset, sigma, **options)
    return Recipe(
        method_name=method,
        method=built,
        dataset=dataset,
        architecture=arch or (_denoised(built, classifier) if classifier else known.architecture),
        schedule=schedule if epochs is None else shortened(schedule, epochs),
        mean=mean,
        std=std,
        seed=seed,
        precision=precision,
        micro_batch=micro_batch,
        initial=initial,
        classifier=classifier,
        method_options=options,
    )


def _denoised(method: Method, classifier: FrozenClassifier) -> str:
    """The architecture of the method's denoiser before the classifier."""
    assert isinstance(method, Denoiser)
    return str(DenoisedArchitecture(method.depth, method.channels, classifier.architecture))


def fresh_network(recipe: Recipe, images: ImageSet, classifier: nn.Module | None = None) -> nn.Module:
    """The recipe's network with random weights. Raises InvalidRequest if it does not fit the images.

    classifier: of a recipe that has one, with its weights; it is copied behind a fresh denoiser.
    """
    if recipe.classifier is None:
        network = build_network(recipe.architecture, len(images.class_names), recipe.mean, recipe.std)
    else:
        architecture = DenoisedArchitecture.parse(recipe.architecture)
        assert architecture is not None
        assert classifier is not None
        network = build_denoised(architecture, copy.deepcopy(classifier), len(recipe.mean))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *images.input_shape))
    except (RuntimeError, AssertionError) as error:
        shape = "x".join(map(str, images.input_shape))
        raise InvalidRequest(f"{recipe.architecture} does not take {shape} images: {error}") from error
    return network


def run_name(recipe: Recipe) -> str:
    """<dataset>-<architecture>-<method>[-<form>]-<sigma>; the form only if the user chose one."""
    form = recipe.method_options.get("form")
    method = recipe.method_name if form is None else f"{recipe.method_name}-{form}"
    dataset = recipe.dataset.split(":")[0]
    name = f"{dataset}-{recipe.architecture}-{method}-{recipe.method.sigma:.2f}".lower()
    return name.replace("_", "-").replace(":", "-")


def shortened(schedule: Schedule, epochs: int) -> Schedule:
    """A schedule of another length; the learning rate drops after the same shares of it."""
    share = epochs / schedule.epochs
    step = max(1, round(schedule.lr_step * share))
    return replace(schedule, epochs=epochs, lr_step=step, late=round(schedule.late * share))


def parse_options(method: str, words: Sequence[str]) -> dict[str, Any]:
    """`--weight 5 --form=legacy` as options, with the types of the method's fields. Raises InvalidRequest."""
    known = find_method(method)
    types, names = get_type_hints(known), {written(option): option.name for option in fields(known)}
    given = {names.get(name, name): (name, text) for name, text in _pairs(words)}
    return {field_name: _convert(*option, types.get(field_name, str)) for field_name, option in given.items()}


def _normalisation(known: DatasetDefaults, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Published mean and std; identity where none are published for so many channels."""
    if len(known.mean) == channels:
        return known.mean, known.std
    return (0.0,) * channels, (1.0,) * channels


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InvalidRequest(f"{word!r} is no option; method options are written --name value.")
        if not equals and not rest:
            raise InvalidRequest(f"--{name} needs a value.")
        pairs.append((name.replace("-", "_"), text if equals else rest.pop(0)))
    return pairs


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        return _boolean(text) if kind is bool else kind(text)
    except ValueError:
        wanted = "yes or no" if kind is bool else "a whole number" if kind is int else "a number"
        raise InvalidRequest(f"--{name.replace('_', '-')} {text!r} is not {wanted}.") from None


def _boolean(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError(text)
    return text.lower() in YES
