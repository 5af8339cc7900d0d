"""Engines already built, so that a model loads once."""

from dataclasses import dataclass

from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.card import ModelCard
from worker.voting import BatchedVotes, EngineBuilder, VotingEngine, Wanted

MOST_ENGINES = 4  # kept at once; the one unused for longest goes first


@dataclass(frozen=True)
class Loaded:
    """One model, ready to vote. built_for: the set-up somebody wanted; None for our choice."""

    card: ModelCard
    engine: VotingEngine
    built_for: Wanted | None

    @property
    def classifier_sha256(self) -> str:
        """Of all in the checkpoint that decides what this engine answers."""
        return self.card.classifier_sha256_in(self.engine.description.precision)

    def fits(self, card: ModelCard, wanted: Wanted | None) -> bool:
        """Whether a job that wants this set-up (or any) can be done with it.

        Equal weights are not enough: what the card says (name, labels, first layer) becomes part of the
        certificate or of the network.
        """
        if self.card != card:
            return False
        return wanted in (self.built_for, self.engine.description)

    def votes(self, image: CertifiedImage, sigma: float, seed: str) -> BatchedVotes:
        """Those of one image."""
        return self.engine.sampler(image.to_array(), sigma, int(seed, 16))


class EngineCache:
    """Builds engines when they are first asked for; a checkpoint replaced on disk is another one."""

    def __init__(self, catalogue: ModelRegistry, builder: EngineBuilder) -> None:
        self._catalogue = catalogue
        self._builder = builder
        self._recent: list[Loaded] = []
        self.platform = builder.platform()

    def check(self, model: str) -> None:
        """Whether the model can be loaded at all. Raises UnknownModel, BadCheckpoint."""
        self._builder.check(self._catalogue.folder(model), self._catalogue.card(model))

    def load(self, model: str, wanted: Wanted | None) -> Loaded:
        """The model's engine, with the set-up wanted if there is one. Raises UnknownModel, InternalError."""
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
