"""The engines of `certification`, as the worker wants them. The only file here that needs torch."""

from pathlib import Path

from certification.candidates import available_device, default_setup
from certification.checkpoint import load_network
from certification.contract.card import ModelCard
from certification.contract.certificate import Engine as Description
from certification.engine import Engine
from certification.hardware import describe
from certification.setup import Setup


class Engines:
    """Engines for checkpoints on this process's device. Call it in the child: it may touch the GPU.

    setup: the set-up to use for new jobs, as `str(Setup)` writes it; chosen by itself when None.
    """

    def __init__(self, setup: str | None = None) -> None:
        self._setup = None if setup is None else Setup.parse(setup)

    def platform(self) -> str:
        """Device and versions, as a certificate names them, without what a set-up chooses."""
        return describe(default_setup((1, 1, 1), available_device())).model_dump_json(
            include={"device", "versions"}
        )

    def build(self, folder: Path, card: ModelCard, pinned: Description | None) -> Engine:
        """The engine of one checkpoint. Raises BadCheckpoint, Failure."""
        network = load_network(folder)
        setup = Setup.of(pinned) if pinned else self._setup
        return Engine(
            network,
            card.input_shape,
            len(card.labels),
            setup or default_setup(card.input_shape, available_device()),
        )
