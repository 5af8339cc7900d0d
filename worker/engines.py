"""Builds the engines of smoothcert.engines for the worker. The only module here that imports torch."""

import json
from pathlib import Path

from smoothcert.engines.autotune import Subject, available_device, choose_config
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.hardware import device_name, platform_versions
from smoothcert.files import from_home
from smoothcert.models.checkpoint import load_network
from smoothcert.schemas.card import INT8, ModelCard
from worker.models import RequestedEngine
from worker.settings import Settings


class Engines:
    """Builds engines on this process's device. Use it only in the child, as it may initialize the GPU."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def platform(self) -> str:
        """Device and library versions, as JSON. If equal, the same engine config gives equal votes."""
        device = available_device()
        return json.dumps([device_name(device), platform_versions(device)], sort_keys=True)

    def check(self, folder: Path, card: ModelCard) -> None:
        """Raises BadCheckpoint if the checkpoint can't be loaded."""
        load_network(folder, card)

    def build(self, folder: Path, card: ModelCard, requested: RequestedEngine | None) -> Engine:
        """The engine of a checkpoint, with the requested config, else the configured or the fastest one.

        Raises BadCheckpoint, InternalError.
        """
        network = load_network(folder, card)
        subject = Subject.of(network, card)
        config = _parsed(requested) if requested and _has(card, requested) else self._choose(subject)
        return Engine(network, card.input_shape, len(card.labels), config)

    def _choose(self, subject: Subject) -> EngineConfig:
        if self._settings.setup:
            return EngineConfig.parse(self._settings.setup)
        if self._settings.tune:
            return choose_config(subject, from_home(self._settings.cache))
        return subject.candidates(available_device())[0]


def _parsed(requested: RequestedEngine) -> EngineConfig:
    return EngineConfig.parse(requested) if isinstance(requested, str) else EngineConfig.of(requested)


def _has(card: ModelCard, requested: RequestedEngine) -> bool:
    """Whether the model can run this config. Without its int8 version, another config restarts the job."""
    return _parsed(requested).precision != INT8 or card.int8 is not None
