"""The seam between the worker and what casts votes; SMOOTHCERT_ENGINES names the class that builds them."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Engine as Description
from smoothcert.votes import VoteSource

Wanted = Description | str  # the set-up an earlier claim pinned, or one by its text


class BatchedVotes(VoteSource, Protocol):
    """at_once: votes under way at the same time (batch size times streams)."""

    at_once: int


class VotingEngine(Protocol):
    """What casts votes for one model: smoothcert.engines.engine.Engine, or a stand-in."""

    description: Description
    num_classes: int

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> BatchedVotes: ...


class EngineBuilder(Protocol):
    """What builds them; made with the worker's Settings. Equal platforms can repeat each other's votes."""

    def platform(self) -> str: ...

    def check(self, folder: Path, card: ModelCard) -> None: ...  # raises BadCheckpoint

    def build(self, folder: Path, card: ModelCard, wanted: Wanted | None) -> VotingEngine: ...
