"""smoothcert bench: votes per second of each engine on this machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoothcert.cli.output import show, show_json, show_table
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.engines.autotune import Subject, Trial, Tuning
    from smoothcert.engines.config import DeviceKind, EngineConfig, Precision

    Report = Callable[[EngineConfig], None]


HEADER = ("engine", "votes/s", "s/certificate", "of matrix rate", "s to build", "")


def bench(
    model: Annotated[str, typer.Argument(help="A bundled name or a checkpoint folder.")],
    *,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of voting, for each engine.")] = 3.0,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this one, as certificates name it; may be repeated.  [default: all tried]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, as one document.")] = False,
) -> None:
    """Measure the engines on this machine.

    They take turns. A certificate is 100 + 100 000 votes. The matrix rate is what the whole machine reaches
    in a large matrix product of the same precision.
    """
    from smoothcert.cli.checkpoints import find_checkpoint

    checkpoint = find_checkpoint(model)
    measured = run_bench(checkpoint, chosen_configs(engine or [], checkpoint), seconds)
    if as_json:
        show_json(measured.document)
        return
    show(_heading(measured))
    show_table(HEADER, [_row(measured, trial) for trial in measured.tuning.trials])
    for trial in measured.tuning.trials:
        if trial.error is not None:
            show(f"{trial.config}: {trial.error}")


def _heading(measured: Bench) -> str:
    from smoothcert.engines.hardware import device_name, usable_cpus

    products = ", ".join(f"{rate / 1e9:.0f} in {name}" for name, rate in measured.matrix_rates.items())
    where = f"{device_name(measured.device)}, {usable_cpus()} processors"
    cost = f"{measured.flop_per_vote / 1e6:.3g} MFLOP a vote"
    return (
        f"{measured.model} ({measured.architecture}) on {where}: {cost}; matrix products GFLOP/s: {products}"
    )


def _row(measured: Bench, trial: Trial) -> list[str]:
    marks = {measured.default: "default", measured.tuning.fastest: "fastest"}
    if measured.default == measured.tuning.fastest:
        marks = {measured.default: "fastest, default"}
    mark, built = marks.get(trial.config, ""), f"{trial.build_seconds:.1f}"
    share = measured.share(trial)
    if trial.votes_per_second is None or share is None:
        return [str(trial.config), "-", "-", "-", built, "failed"]
    rate, each = f"{trial.votes_per_second:.0f}", f"{trial.certificate_seconds:.2f}"
    return [str(trial.config), rate, each, f"{100 * share:.0f} %", built, mark]


ROUNDS = 3  # in which the engines take turns, so that a busy moment affects all


@dataclass(frozen=True)
class Bench:
    """The result for one network on one machine. matrix_rates: FLOP per second by precision."""

    model: str
    architecture: str
    device: DeviceKind
    flop_per_vote: int
    matrix_rates: dict[Precision, float]
    tuning: Tuning
    default: EngineConfig

    def share(self, trial: Trial) -> float | None:
        """The share of the peak matrix rate in its precision that an engine reaches; None if it failed."""
        if trial.votes_per_second is None:
            return None
        return trial.votes_per_second * self.flop_per_vote / self.matrix_rates[trial.config.precision]

    @property
    def document(self) -> dict[str, Any]:
        """The document of `--json`; null values if an engine failed, see `error`."""
        from smoothcert.engines.hardware import device_name, platform_versions, usable_cpus
        from smoothcert.schemas.parameters import DEFAULT_N, DEFAULT_N0

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
            "setup": str(trial.config),
            "votes_per_second": trial.votes_per_second,
            "seconds_per_certificate": seconds if math.isfinite(seconds) else None,
            "share_of_matrix_rate": self.share(trial),
            "build_seconds": trial.build_seconds,
            "error": trial.error,
        }


def chosen_configs(named: Sequence[str], checkpoint: Checkpoint) -> list[EngineConfig]:
    """The given engines, or all candidates. Raises InvalidRequest for an invalid one."""
    from smoothcert.engines.autotune import available_device, candidates
    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import check_runnable

    if not named:
        card = checkpoint.card
        return candidates(card.input_shape, available_device(), int8=card.int8_is_as_good)
    configs = [EngineConfig.parse(text) for text in dict.fromkeys(named)]
    for config in configs:
        with suppress(InternalError):  # engines that can't run here are reported in the result
            check_runnable(config)
    if len({config.device for config in configs}) > 1:
        raise InvalidRequest(
            "Only engines of one device are compared; measure the CPU's and the GPU's one by one."
        )
    return configs


def run_bench(checkpoint: Checkpoint, configs: Sequence[EngineConfig], seconds: float) -> Bench:
    """Measure each engine for `seconds` of voting. Raises InternalError if none runs."""
    from smoothcert.engines.autotune import Subject
    from smoothcert.engines.hardware import flop_per_vote, peak_matmul_rate
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    network = load_network(checkpoint.folder, card)
    subject = Subject.of(network, card)
    device = configs[0].device
    with progress_bar("measuring") as update:
        turns = iter(range(1, ROUNDS * len(configs) + 1))
        tuning = interleaved(
            subject, configs, seconds, lambda config: update(next(turns), ROUNDS * len(configs), str(config))
        )
    tuning.fastest  # noqa: B018  (raises where nothing runs, before more is measured)
    precisions = dict.fromkeys(trial.config.precision for trial in tuning.trials if trial.votes_per_second)
    return Bench(
        model=card.name,
        architecture=card.architecture,
        device=device,
        flop_per_vote=flop_per_vote(network, card.input_shape),
        matrix_rates={
            precision: peak_matmul_rate(device, precision, min(1.0, seconds)) for precision in precisions
        },
        tuning=tuning,
        default=subject.candidates(device)[0],
    )


def interleaved(subject: Subject, configs: Sequence[EngineConfig], seconds: float, report: Report) -> Tuning:
    """Measure the engines in ROUNDS rounds; the result is the median. An engine that failed is skipped."""
    from smoothcert.engines.autotune import Tuning, measure

    rounds: dict[EngineConfig, list[Trial]] = {config: [] for config in configs}
    for _ in range(ROUNDS):
        for config, trials in rounds.items():
            report(config)
            if not trials or trials[-1].error is None:
                trials.append(measure(subject, config, seconds / ROUNDS))
    return Tuning(tuple(_middle(trials) for trials in rounds.values()))


def _middle(trials: Sequence[Trial]) -> Trial:
    """The last trial with the median rate, and the build time of the first, when nothing was warm."""
    rates = [trial.votes_per_second for trial in trials if trial.votes_per_second is not None]
    if trials[-1].error is not None:
        return trials[-1]
    return replace(
        trials[-1], votes_per_second=statistics.median(rates), build_seconds=trials[0].build_seconds
    )
