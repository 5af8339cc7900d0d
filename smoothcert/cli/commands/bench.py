"""smoothcert bench: votes per second of each engine set-up on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import show, show_json, show_table

if TYPE_CHECKING:
    from smoothcert.cli.benching import Bench
    from smoothcert.engines.autotune import Trial

HEADER = ("set-up", "votes/s", "s/certificate", "of matrix rate", "s to build", "")


def bench(
    model: Annotated[str, typer.Argument(help="A bundled name or a checkpoint folder.")],
    *,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of voting, for each set-up.")] = 3.0,
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this one, as certificates name it; may be repeated.  [default: all tried]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, as one document.")] = False,
) -> None:
    """Measure the engine's set-ups on this machine.

    They take turns. A certificate is 100 + 100 000 votes. The matrix rate is what the whole machine reaches
    in a large matrix product of the same precision.
    """
    from smoothcert.cli.benching import chosen_setups, run_bench
    from smoothcert.cli.checkpoints import find_checkpoint

    checkpoint = find_checkpoint(model)
    measured = run_bench(checkpoint, chosen_setups(setup or [], checkpoint), seconds)
    if as_json:
        show_json(measured.document)
        return
    show(_heading(measured))
    show_table(HEADER, [_row(measured, trial) for trial in measured.tuning.trials])
    for trial in measured.tuning.trials:
        if trial.error is not None:
            show(f"{trial.setup}: {trial.error}")


def _heading(measured: "Bench") -> str:
    from smoothcert.engines.hardware import device_name, usable_cpus

    products = ", ".join(f"{rate / 1e9:.0f} in {name}" for name, rate in measured.matrix_rates.items())
    where = f"{device_name(measured.device)}, {usable_cpus()} processors"
    cost = f"{measured.flop_per_vote / 1e6:.3g} MFLOP a vote"
    return (
        f"{measured.model} ({measured.architecture}) on {where}: {cost}; matrix products GFLOP/s: {products}"
    )


def _row(measured: "Bench", trial: "Trial") -> list[str]:
    marks = {measured.default: "default", measured.tuning.fastest: "fastest"}
    if measured.default == measured.tuning.fastest:
        marks = {measured.default: "fastest, default"}
    mark, built = marks.get(trial.setup, ""), f"{trial.build_seconds:.1f}"
    share = measured.share(trial)
    if trial.votes_per_second is None or share is None:
        return [str(trial.setup), "-", "-", "-", built, "failed"]
    rate, each = f"{trial.votes_per_second:.0f}", f"{trial.certificate_seconds:.2f}"
    return [str(trial.setup), rate, each, f"{100 * share:.0f} %", built, mark]
