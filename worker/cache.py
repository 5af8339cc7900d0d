"""A cache of engines, so that a model loads once."""

from dataclasses import dataclass

from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.card import ModelCard
from smoothcert.votes import BatchedVotes
from worker.voting import EngineBuilder, VotingEngine, Wanted

MOST_ENGINES = 4  # kept at once; the least recently used is evicted


@dataclass(frozen=True)
class Loaded:
    """One model and its engine. built_for: the requested engine config; None for the worker's choice."""

    card: ModelCard
    engine: VotingEngine
    built_for: Wanted | None

    @property
    def classifier_sha256(self) -> str:
        """Digest of everything in the checkpoint that decides this engine's votes."""
        return self.card.classifier_sha256_in(self.engine.description.precision)

    def fits(self, card: ModelCard, wanted: Wanted | None) -> bool:
        """Whether this engine can run a job that wants this engine config. None: the worker's choice.

        Compares the whole card, not only the weights: the certificate contains its name and labels, and the
        network its first layer.
        """
        if self.card != card:
            return False
        return wanted in (self.built_for, self.engine.description)

    def votes(self, image: CertifiedImage, sigma: float, seed: str) -> BatchedVotes:
        """The votes of one image, from this seed (hexadecimal)."""
        return self.engine.sampler(image.to_array(), sigma, int(seed, 16))


class EngineCache:
    """Builds engines on first use. A checkpoint that is replaced on disk gets a new engine."""

    def __init__(self, catalogue: ModelRegistry, builder: EngineBuilder) -> None:
        self._catalogue = catalogue
        self._builder = builder
        self._recent: list[Loaded] = []
        self.platform = builder.platform()

    def check(self, model: str) -> None:
        """Raises UnknownModel or BadCheckpoint if the model can't be loaded."""
        self._builder.check(self._catalogue.folder(model), self._catalogue.card(model))

    def load(self, model: str, wanted: Wanted | None) -> Loaded:
        """The model's engine, with the wanted config if any.

        Raises UnknownModel, BadCheckpoint, InternalError.
        """
        card = self._catalogue.card(model)
        found = next((kept for kept in self._recent if kept.fits(card, wanted)), None)
        if found:
            self._recent.remove(found)
        else:
            del self._recent[: max(0, len(self._recent) - MOST_ENGINES + 1)]
            engine = self._builder.build(self._catalogue.folder(model), card, wanted)
            found = Loaded(card, engine, built_for=wanted)
        self._recent.append(found)
        return found
