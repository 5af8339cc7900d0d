"""A smoothed classifier: a base classifier, run by an engine, whose predictions come with a certificate."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from smoothcert.engines.as_given import AsGivenEngine
from smoothcert.engines.autotune import Subject, choose_config
from smoothcert.engines.capture import capture
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.function_check import Classifier, Scores, name_of
from smoothcert.environment import cache_folder, models_folder
from smoothcert.errors import InvalidRequest
from smoothcert.images.arrays import certified_image
from smoothcert.images.decode import to_png
from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import BUNDLED, ModelRegistry
from smoothcert.notebook import Point, Sight, rounded_down
from smoothcert.progress import Update, progress_bar
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import Certificate, EngineDescription
from smoothcert.schemas.job import Progress
from smoothcert.schemas.limits import (
    check_sigma,
    checked_labels,
    checked_seed,
    checked_shape,
    model_name,
    number_of,
    per_channel,
)
from smoothcert.schemas.parameters import (
    DEFAULT_ALPHA,
    DEFAULT_N,
    DEFAULT_N0,
    Parameters,
    ProcedureName,
    checked_parameters,
)
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.forecast import drive_with_forecasts
from smoothcert.stats.procedure import Certification

if TYPE_CHECKING:
    from torch import nn

CHUNK = 8192  # votes between two progress reports
log = logging.getLogger("smoothcert")


class SmoothedClassifier:
    """g(x) = argmax_c P(f(x + delta) = c), delta ~ N(0, sigma^2 I), as in Cohen et al. 2019.

    card: name, sigma, shape, labels. notes: what was done to a given module, in words. opaque: why its votes
    can be redrawn by nobody else; None for checkpoints and captured modules. Not thread-safe: engines use all
    threads.
    """

    card: ModelCard
    notes: tuple[str, ...]
    opaque: str | None

    def __init__(
        self,
        classifier: Classifier,
        *,
        sigma: float,
        num_classes: int,
        input_shape: Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: Sequence[str] | None = None,
        name: str | None = None,
        engine: str | None = None,
    ) -> None:
        """A module or function given in Python.

        classifier: a torch.nn.Module, or a callable, on float32 images (B,C,H,W) in [0,1]; it returns scores
        (B, num_classes). A module is copied and put into evaluation mode, on any device. sigma: pixels in
        [0,1]. input_shape: (C,H,W), C 1 or 3. mean, std: one a channel; (x - mean) / std is what the
        classifier gets. labels: names of the classes. name: of the model, in certificates. engine: as
        certificates name it; by default the one that measures fastest here, at first use. Raises
        InvalidRequest, in words: the classifier fails, or is no function of one image at a time.
        """
        shape = checked_shape(input_shape)
        check_sigma(number_of(sigma, "sigma"))
        names = checked_labels(labels, num_classes)
        means, stds = per_channel(mean, "mean", shape[0]), per_channel(std, "std", shape[0])
        if stds and min(stds) <= 0:
            raise InvalidRequest("std must be positive.")
        captured = capture(classifier, shape, len(names), sigma, means, stds)
        self.card = ModelCard(
            name=model_name(name or name_of(classifier)),
            architecture=f"torch.export sha256 {captured.graph_sha256}",
            dataset="",
            input_shape=shape,
            labels=names,
            preprocessing=Preprocessing(
                mode="L" if shape[0] == 1 else "RGB",
                mean=means or (0.0,) * shape[0],
                std=stds or (1.0,) * shape[0],
            ),
            sigma=sigma,
            method="given in Python",
            weights_sha256=captured.weights_sha256,
            data_license="",
        )
        self.notes, self.opaque = captured.notes, captured.opaque
        self._network: nn.Module | None = captured.network
        self._structure: str | None = captured.graph_sha256
        self._engine_text = engine
        alone = [f"it runs as it is, and nobody else can redraw its votes: {self.opaque}"]
        for note in (*self.notes, *alone * (self.opaque is not None)):
            log.info("%s: %s", self.card.name, note)

    @classmethod
    def load(cls, model: str | Path, engine: str | None = None) -> Self:
        """The model of this name, or that of a checkpoint folder. Takes a few seconds.

        engine: as certificates name it, for example `cpu:eager/2-threads:float32:128`; by default the one
        that measures fastest here, at first use. Raises UnknownModel, BadCheckpoint, InvalidRequest,
        InternalError.
        """
        folder, card = ModelRegistry(models_folder(BUNDLED)).find(model)
        if engine is not None:
            EngineConfig.parse(engine)
        made = cls._of(card, engine)
        made._network = load_network(folder, card)
        return made

    @classmethod
    def of(cls, card: ModelCard, engine: Engine) -> Self:
        """A checkpoint's card with an engine that was built already."""
        made = cls._of(card, None)
        made.engine = engine
        return made

    @classmethod
    def _of(cls, card: ModelCard, engine: str | None) -> Self:
        made = cls.__new__(cls)
        made.card, made.notes, made.opaque = card, (), None
        made._network, made._structure, made._engine_text = None, None, engine
        return made

    @cached_property
    def engine(self) -> Engine | AsGivenEngine:
        """Built at first use. Measuring the candidates takes seconds, once a classifier and machine."""
        assert self._network is not None
        if self.opaque is not None:
            return self._as_given(EngineConfig.parse(self._engine_text).batch if self._engine_text else None)
        if self._engine_text is not None:
            return self._built(EngineConfig.parse(self._engine_text))
        subject = Subject.of(self._network, self.card)
        if self._structure is not None:  # the speed of a module doesn't depend on its weights
            subject = replace(subject, model_sha256=self._structure)
        return self._built(choose_config(subject, cache_folder()))

    def engine_for(self, claimed: EngineDescription) -> Engine | AsGivenEngine:
        """The engine that a certificate names, to redraw its votes. Raises InvalidRequest, InternalError."""
        if self.opaque is not None:
            return self._as_given(claimed.batch)
        if self._network is None or claimed == self.engine.description:
            return self.engine
        return self._built(EngineConfig.of(claimed))

    def _built(self, config: EngineConfig) -> Engine:
        assert self._network is not None
        return Engine(self._network, self.card.input_shape, len(self.card.labels), config)

    def _as_given(self, batch: int | None) -> AsGivenEngine:
        scores = self._network
        assert isinstance(scores, Scores)
        classes = len(self.card.labels)
        return AsGivenEngine(scores, self.card.input_shape, classes, device=scores.home, batch=batch)

    def certify(  # noqa: PLR0917  # in the order of the published procedure's parameters
        self,
        image: Any,
        n: int = DEFAULT_N,
        n0: int = DEFAULT_N0,
        alpha: float = DEFAULT_ALPHA,
        procedure: ProcedureName = "anytime",
        target_radius: float | None = None,
        tolerance: float | None = None,
        deadline: float | None = None,
        seed: int | str | None = None,
        progress: bool = False,
    ) -> Certificate:
        """The certificate of one image.

        image: a path, the bytes of a file, a PIL image, uint8 pixels (H,W), (H,W,C) or (C,H,W), or floats in
        [0,1] that are multiples of 1/255. n, n0: estimation and selection votes. alpha: failure probability.
        procedure: `anytime`, `certify` (Cohen et al. 2019, Algorithm 1) or `predict` (a class, no radius).
        target_radius: stop once this l2 radius is proved or hopeless. tolerance: stop once at most this share
        of the radius is missing. deadline: seconds, after which the best certificate so far is returned.
        seed: an int or 32 hexadecimal digits; random by default, as a known seed lets an attacker choose the
        image against the noise. progress: show a bar on stderr. Raises BadImage, InvalidRequest.
        """
        pixels = certified_image(image, self.card)
        ends = {"target_radius": target_radius, "tolerance": tolerance, "deadline": deadline}
        parameters = checked_parameters(self.card.sigma, n=n, n0=n0, alpha=alpha, procedure=procedure, **ends)
        steps = self.stream(pixels, parameters, checked_seed(seed))
        with progress_bar("votes", shown=progress) as report:
            return _last(steps, pixels, report)

    def predict(
        self, image: Any, n: int = 1000, alpha: float = DEFAULT_ALPHA, seed: int | str | None = None
    ) -> int | None:
        """The smoothed classifier's class, right with probability 1-alpha; None for an abstention.

        PREDICT of Cohen et al. 2019. n: votes. Raises BadImage, InvalidRequest.
        """
        return self.certify(image, n=n, alpha=alpha, procedure="predict", seed=seed).predicted_class

    def certify_many(
        self, images: Iterable[Any], progress: bool = False, **parameters: Any
    ) -> Iterator[Certificate]:
        """The certificates of images, in their order, one at a time as they are asked for.

        parameters: those of `certify`. progress: show a bar on stderr.
        """
        total = len(images) if isinstance(images, Sized) else 0
        with progress_bar("images", shown=progress) as report:
            for done, image in enumerate(images, 1):
                yield self.certify(image, **parameters)
                report(done, max(total, done), "")

    def stream(
        self, image: CertifiedImage, parameters: Parameters, seed: str
    ) -> Iterator[Progress | Certificate]:
        """Progress after every few thousand votes, then the certificate. Raises ImpossibleRequest."""
        end = None if parameters.deadline is None else time.monotonic() + parameters.deadline
        source = self.engine.sampler(image.to_array(), parameters.sigma, int(seed, 16))
        certification = Certification(parameters, source.num_classes, slack=source.slack)
        yield from drive_with_forecasts(certification, source, CHUNK, end)
        certificate = build_certificate(
            certification.result,
            parameters,
            card=self.card,
            input_digest=image.digest,
            seed=seed,
            engine=self.engine.description,
            out_of_time=not certification.finished,
        )
        if self.opaque is not None:
            model = certificate.model.model_copy(update={"opaque": self.opaque})
            certificate = certificate.model_copy(update={"model": model})
        yield certificate

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.card.input_shape))
        lines = [f"<SmoothedClassifier {self.card.name}: sigma {self.card.sigma:g}, {shape}, "]
        lines[0] += f"{len(self.card.labels)} classes>"
        lines += [f"note: {note}" for note in self.notes]
        if self.opaque is not None:
            lines.append(f"runs as it is, so nobody else can redraw its votes: {self.opaque}")
        return "\n".join(lines)


def load(model: str | Path, engine: str | None = None) -> SmoothedClassifier:
    """A model by the name of a bundled checkpoint, or by its folder (`smoothcert add` makes them, from ONNX
    too).

    See `SmoothedClassifier.load`.
    """
    return SmoothedClassifier.load(model, engine)


def _last(steps: Iterator[Progress | Certificate], image: CertifiedImage, report: Update) -> Certificate:
    """The certificate at the end, with what a notebook shows beside it."""
    growth: list[Point] = []
    for step in steps:
        if isinstance(step, Certificate):
            step.__dict__["sight"] = Sight(partial(to_png, image), tuple(growth))
            return step
        growth.append((float(step.samples), step.radius or 0.0))
        expected = f", {step.forecast.in_words} expected" if step.forecast else ""
        report(step.samples, step.of, f"radius {rounded_down(step.radius or 0.0, 3)}{expected}")
    raise AssertionError("the stream ends in a certificate")
