"""What `smoothcert bench` measures: every set-up that might be chosen here, and what the machine could do."""

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from smoothcert.cli.checkpoints import Checkpoint
from smoothcert.cli.progress import progress_bar
from smoothcert.engines.autotune import Subject, Trial, Tuning, measure
from smoothcert.engines.candidates import available_device, candidates
from smoothcert.engines.config import DeviceKind, EngineConfig, Precision
from smoothcert.engines.engine import check_runnable
from smoothcert.engines.hardware import device_name, platform_versions, usable_cpus
from smoothcert.engines.matmul_rate import flop_per_vote, peak_matmul_rate
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.models.checkpoint import load_network
from smoothcert.schemas.parameters import DEFAULT_N, DEFAULT_N0

ROUNDS = 3  # in which the set-ups take turns, so that a busy moment hits none of them alone
Told = Callable[[EngineConfig], None]


@dataclass(frozen=True)
class Bench:
    """One network on one machine. matrix_rates: operations per second by precision."""

    model: str
    architecture: str
    device: DeviceKind
    flop_per_vote: int
    matrix_rates: dict[Precision, float]
    tuning: Tuning
    default: EngineConfig

    def share(self, trial: Trial) -> float | None:
        """What a set-up reaches of the machine's matrix products in its precision."""
        if trial.votes_per_second is None:
            return None
        return trial.votes_per_second * self.flop_per_vote / self.matrix_rates[trial.setup.precision]

    @property
    def document(self) -> dict[str, Any]:
        """For `--json`; null where a set-up failed, which its `error` explains."""
        return {
            "model": self.model,
            "architecture": self.architecture,
            "device": device_name(self.device),
            "processors": usable_cpus(),
            "versions": platform_versions(self.device),
            "flop_per_vote": self.flop_per_vote,
            "matrix_product_flops": self.matrix_rates,
            "certificate": {"n0": DEFAULT_N0, "n": DEFAULT_N},
            "default": str(self.default),
            "fastest": str(self.tuning.fastest),
            "setups": [self._entry(trial) for trial in self.tuning.trials],
        }

    def _entry(self, trial: Trial) -> dict[str, Any]:
        seconds = trial.certificate_seconds
        return {
            "setup": str(trial.setup),
            "votes_per_second": trial.votes_per_second,
            "seconds_per_certificate": seconds if math.isfinite(seconds) else None,
            "share_of_matrix_rate": self.share(trial),
            "build_seconds": trial.build_seconds,
            "error": trial.error,
        }


def chosen_setups(named: Sequence[str], checkpoint: Checkpoint) -> list[EngineConfig]:
    """Those named, or all the tuner would try. Raises InvalidRequest for one that makes no sense."""
    if not named:
        card = checkpoint.card
        return candidates(card.input_shape, available_device(), int8=card.int8_is_as_good)
    setups = [EngineConfig.parse(text) for text in dict.fromkeys(named)]
    for setup in setups:
        with suppress(InternalError):  # what can't run here is a line of the answer
            check_runnable(setup)
    if len({setup.device for setup in setups}) > 1:
        raise InvalidRequest(
            "Set-ups of one device are compared; measure the CPU's and the GPU's one by one."
        )
    return setups


def run_bench(checkpoint: Checkpoint, setups: Sequence[EngineConfig], seconds: float) -> Bench:
    """Measure each set-up for so many seconds of voting. Raises InternalError when none runs."""
    card = checkpoint.card
    network = load_network(checkpoint.folder, card)
    subject = Subject.of(network, card)
    device = setups[0].device
    with progress_bar("measuring") as update:
        turns = iter(range(1, ROUNDS * len(setups) + 1))
        tuning = interleaved(
            subject, setups, seconds, lambda setup: update(next(turns), ROUNDS * len(setups), str(setup))
        )
    tuning.fastest  # noqa: B018  (raises where nothing runs, before more is measured)
    precisions = dict.fromkeys(trial.setup.precision for trial in tuning.trials if trial.votes_per_second)
    return Bench(
        model=card.name,
        architecture=card.architecture,
        device=device,
        flop_per_vote=flop_per_vote(network, card.input_shape),
        matrix_rates={precision: peak_matmul_rate(device, precision) for precision in precisions},
        tuning=tuning,
        default=subject.candidates(device)[0],
    )


def interleaved(subject: Subject, setups: Sequence[EngineConfig], seconds: float, told: Told) -> Tuning:
    """Rounds in which each set-up has its turn, and the median of its rates. What failed once is left out."""
    rounds: dict[EngineConfig, list[Trial]] = {setup: [] for setup in setups}
    for _ in range(ROUNDS):
        for setup, trials in rounds.items():
            told(setup)
            if not trials or trials[-1].error is None:
                trials.append(measure(subject, setup, seconds / ROUNDS))
    return Tuning(tuple(_middle(trials) for trials in rounds.values()))


def _middle(trials: Sequence[Trial]) -> Trial:
    """The last one with the median rate; the building time is the first's, when nothing was warm yet."""
    rates = [trial.votes_per_second for trial in trials if trial.votes_per_second is not None]
    if trials[-1].error is not None:
        return trials[-1]
    return replace(
        trials[-1], votes_per_second=statistics.median(rates), build_seconds=trials[0].build_seconds
    )
