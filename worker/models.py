"""The models that this child can run, each with its engine: loads them in turn, watches for new ones.

Also the interface to the engines; SMOOTHCERT_ENGINES names the class that builds them.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from smoothcert.errors import BrokerUnavailable, SmoothCertError
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.votes import VoteStore
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.votes import BatchedVotes
from worker.settings import BEATS_MISSED, Settings

MOST_ENGINES = 4  # kept at once; the least recently used is evicted
RequestedEngine = EngineDescription | str  # the engine that a job is pinned to, or an engine config as text


class VotingEngine(Protocol):
    """Computes votes of one model: smoothcert.engines.engine.Engine, or a test double."""

    description: EngineDescription
    num_classes: int

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> BatchedVotes: ...


class EngineBuilder(Protocol):
    """Builds engines; constructed with the worker's Settings. Equal platforms compute equal votes."""

    def platform(self) -> str: ...

    def check(self, folder: Path, card: ModelCard) -> None: ...  # raises BadCheckpoint

    def build(self, folder: Path, card: ModelCard, requested: RequestedEngine | None) -> VotingEngine: ...


@dataclass(frozen=True)
class Loaded:
    """One model and its engine. built_for: the requested engine config; None for the worker's choice."""

    card: ModelCard
    engine: VotingEngine
    built_for: RequestedEngine | None

    @property
    def classifier_sha256(self) -> str:
        """Digest of everything in the checkpoint that decides this engine's votes."""
        return self.card.classifier_sha256_in(self.engine.description.precision)

    def fits(self, card: ModelCard, requested: RequestedEngine | None) -> bool:
        """Whether this engine can run a job that requests this engine. None: the worker's choice.

        Compares the whole card, not only the weights: the certificate contains its name and labels, and the
        network its first layer.
        """
        if self.card != card:
            return False
        return requested in (self.built_for, self.engine.description)

    def votes(self, image: CertifiedImage, sigma: float, seed: str) -> BatchedVotes:
        """The votes of one image, from this seed (hexadecimal)."""
        return self.engine.sampler(image.to_array(), sigma, int(seed, 16))


class EngineCache:
    """Builds engines on first use. A checkpoint that is replaced on disk gets a new engine."""

    def __init__(self, registry: ModelRegistry, builder: EngineBuilder) -> None:
        self._registry = registry
        self._builder = builder
        self._recent: list[Loaded] = []
        self.platform = builder.platform()

    def check(self, model: str) -> None:
        """Raises UnknownModel or BadCheckpoint if the model can't be loaded."""
        self._builder.check(self._registry.folder(model), self._registry.card(model))

    def load(self, model: str, requested: RequestedEngine | None) -> Loaded:
        """The model's engine, with the requested config if any.

        Raises UnknownModel, BadCheckpoint, InternalError.
        """
        card = self._registry.card(model)
        found = next((kept for kept in self._recent if kept.fits(card, requested)), None)
        if found:
            self._recent.remove(found)
        else:
            del self._recent[: max(0, len(self._recent) - MOST_ENGINES + 1)]
            engine = self._builder.build(self._registry.folder(model), card, requested)
            found = Loaded(card, engine, built_for=requested)
        self._recent.append(found)
        return found


log = structlog.get_logger(__name__)


class Models:
    """The child's heartbeat names the loaded models; the parent then consumes their queues."""

    def __init__(self, settings: Settings, engines: EngineCache, votes: VoteStore, store: JobStore) -> None:
        self._settings, self._engines, self._votes, self._store = settings, engines, votes, store
        self._tried: dict[str, str] = {}  # model -> digest of the weights tried last
        self._verdicts: dict[str, str | None] = {}  # not yet in the record: model -> error, or None
        self._left_out: dict[str, str] = {}  # folder -> reason, as logged
        self.loaded: list[str] = []

    def load_first(self) -> None:
        """Builds the engines of the first models: the default model, then by name.

        A model that can't be loaded does not keep the worker from running the others.
        """
        self._name_left_out()
        for name in self._names()[: self._settings.warm]:
            self._try(name, build=True)
        self.beat()

    def watch(self) -> None:
        """Starts a thread that loads the other models while jobs run, and sends the heartbeats."""
        threading.Thread(target=self._watch, name="models", daemon=True).start()

    def refuse(self, name: str, reason: str) -> None:
        """Records why a model could not be loaded for a job."""
        self._verdicts[name] = reason

    def look(self) -> None:
        """Loads models that are new or changed in the folder."""
        self._name_left_out()
        for name in self._names():
            self._try(name)

    def beat(self) -> None:
        """Sends a heartbeat. If the broker is unavailable, the next one reports the same."""
        try:
            for name, reason in list(self._verdicts.items()):
                if reason is None:
                    self._store.accept_model(name)
                else:
                    self._store.refuse_model(name, reason)
                del self._verdicts[name]
            self._votes.beat(self.loaded, BEATS_MISSED * self._settings.beat)
        except BrokerUnavailable as error:
            log.warning("no sign of life", error=str(error))

    def _names(self) -> list[str]:
        names = self._settings.registry.names()
        return sorted(names, key=lambda name: name != self._settings.default_model)

    def _name_left_out(self) -> None:
        """Logs each folder that is no model, once for each reason."""
        found = self._settings.registry.left_out()
        for folder, reason in found.items():
            if self._left_out.get(folder) != reason:
                log.warning("left out", folder=folder, why=reason)
        self._left_out = found

    def _watch(self) -> None:
        while True:
            self.look()
            self.beat()
            time.sleep(self._settings.beat)

    def _try(self, name: str, *, build: bool = False) -> None:
        """Loads a model, unless its current weights were tried before."""
        try:
            weights = self._settings.registry.card(name).weights_sha256
            if self._tried.get(name) == weights:
                return
            self._tried[name] = weights
            if build:
                log.info("loaded", model=name, engine=str(self._engines.load(name, None).engine.description))
            else:
                self._engines.check(name)
        except SmoothCertError as error:
            log.warning("not loaded", model=name, error=str(error))
            self._verdicts[name] = str(error)
            return
        self._verdicts[name] = None
        self.loaded = [*dict.fromkeys([*self.loaded, name])]
