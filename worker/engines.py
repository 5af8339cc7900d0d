"""The engines of `certification`, as the worker wants them. The only file here that needs torch."""

import json
from pathlib import Path

from certification.candidates import available_device
from certification.checkpoint import load_network
from certification.contract.card import INT8, ModelCard
from certification.engine import Engine
from certification.files import from_home
from certification.hardware import device_name, platform_versions
from certification.setup import Setup
from certification.tuner import Subject, choose_setup
from worker.settings import Settings
from worker.voting import Wanted


class Engines:
    """Engines for checkpoints on this process's device. Call it in the child: it may touch the GPU."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def platform(self) -> str:
        """Device and library versions: where they are equal, a set-up gives equal votes."""
        device = available_device()
        return json.dumps([device_name(device), platform_versions(device)], sort_keys=True)

    def check(self, folder: Path, card: ModelCard) -> None:
        """Whether the checkpoint can be loaded. Raises BadCheckpoint."""
        load_network(folder, card)

    def build(self, folder: Path, card: ModelCard, wanted: Wanted | None) -> Engine:
        """One checkpoint under the set-up wanted, or under our choice. Raises BadCheckpoint, Failure."""
        network = load_network(folder, card)
        subject = Subject.of(network, card)
        setup = _parsed(wanted) if wanted and _has(card, wanted) else self._choose(subject)
        return Engine(network, card.input_shape, len(card.labels), setup)

    def _choose(self, subject: Subject) -> Setup:
        if self._settings.setup:
            return Setup.parse(self._settings.setup)
        if self._settings.tune:
            return choose_setup(subject, from_home(self._settings.cache))
        return subject.candidates(available_device())[0]


def _parsed(wanted: Wanted) -> Setup:
    return Setup.parse(wanted) if isinstance(wanted, str) else Setup.of(wanted)


def _has(card: ModelCard, wanted: Wanted) -> bool:
    """Not when the model lost its int8 rounding since; another set-up then starts the job again."""
    return _parsed(wanted).precision != INT8 or card.int8 is not None
