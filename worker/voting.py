"""The protocols between worker and engines. SMOOTHCERT_ENGINES names the class that builds engines."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.votes import BatchedVotes

Wanted = EngineDescription | str  # the engine that a job is pinned to, or an engine config as text


class VotingEngine(Protocol):
    """Computes votes of one model: smoothcert.engines.engine.Engine, or a test double."""

    description: EngineDescription
    num_classes: int

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> BatchedVotes: ...


class EngineBuilder(Protocol):
    """Builds engines; constructed with the worker's Settings. Equal platforms compute equal votes."""

    def platform(self) -> str: ...

    def check(self, folder: Path, card: ModelCard) -> None: ...  # raises BadCheckpoint

    def build(self, folder: Path, card: ModelCard, wanted: Wanted | None) -> VotingEngine: ...
