"""smoothcert reproduce: measure the tables and figures of the paper, next to the published values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smoothcert.cli.options import parameters
from smoothcert.cli.output import check_out, note, show
from smoothcert.cli.train import PRECISION, PrecisionOption, fit, use_passive_waiting
from smoothcert.errors import InvalidRequest

if TYPE_CHECKING:
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.cli.train import PRECISION, PrecisionOption
    from smoothcert.schemas.card import ModelCard
    from smoothcert.schemas.evaluation_log import Log
    from training.datasets import Split
    from training.datasets.image_set import ImageSet
    from training.recipe import Recipe
    from training.reproduce import Arm, Experiment
    from training.reproduce.comparison import ArmResult
    from training.reproduce.gaps import Gaps


Format = Literal["markdown", "latex"]


def reproduce(
    name: Annotated[str | None, typer.Argument(help="table1, figure2, ...; --list names them all.")] = None,
    *,
    list_all: Annotated[bool, typer.Option("--list", help="Name the experiments.")] = False,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Logs and plots; checkpoints below it.")] = Path(
        "runs/reproduce"
    ),
    scale: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the published epochs to train for.")
    ] = 1.0,
    every: Annotated[
        int | None, typer.Option(min=1, help="Every K-th test image.  [default: the experiment's]")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Estimation votes.  [default: 100000]")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only models whose name has this in it; may be repeated.")
    ] = None,
    train: Annotated[bool, typer.Option(help="Train what has no checkpoint.")] = True,
    evaluate: Annotated[bool, typer.Option(help="Certify what has no rows yet.")] = True,
    image: Annotated[int, typer.Option(min=0, help="The test image of figure1.")] = 0,
    precision: Annotated[PrecisionOption, typer.Option(help=PRECISION)] = "auto",
    resume: Annotated[
        bool, typer.Option(help="Continue what an earlier call left unfinished, rather than refuse it.")
    ] = True,
    format_name: Annotated[Format, typer.Option("--format", help="Of the tables.")] = "markdown",
) -> None:
    """Reproduce a table or figure of the paper, under its number there.

    Bundled checkpoints, and those of an earlier call, are used; what is missing is trained, everything is
    certified into logs that a later call continues, and each row stands beside the published ones. A plot of
    the logs goes to --out.
    """

    use_passive_waiting()
    from training.reproduce import EXPERIMENTS, find_experiment

    if list_all:
        show("\n".join(f"{item.name:18}{item.title}" for item in EXPERIMENTS.values()))
        return
    if name is None:
        raise InvalidRequest("Which experiment? --list names them.")
    if scale == 0:
        raise InvalidRequest("--scale 0 trains nothing; --no-train leaves out what has no checkpoint.")
    experiment = find_experiment(name).only(only or [])
    if not experiment.arms:
        raise InvalidRequest(f"{name} has no model with {' or '.join(only or [])} in its name.")

    bench = Bench(
        *(data_root, out, scale, every or experiment.every, n, train, evaluate, image, precision),
        resume=resume,
        latex=format_name == "latex",
    )
    show(run_experiment(experiment, bench))


CHECKPOINTS = "checkpoints"
SEED = 0  # of evaluations; an existing log keeps its own


@dataclass(frozen=True)
class Bench:
    """Settings. every, n: test images and votes. train, evaluate: whether to make missing results."""

    data_root: Path
    out: Path
    scale: float = 1.0
    every: int = 20
    n: int | None = None
    train: bool = True
    evaluate: bool = True
    image: int = 0  # test image of Figure 1
    precision: PrecisionOption = "auto"  # of what is trained
    resume: bool = True
    latex: bool = False


def run_experiment(experiment: Experiment, bench: Bench) -> str:
    """Run an experiment; returns its report as Markdown. Plots go next to the logs. Raises InvalidRequest."""
    from smoothcert.engines.hardware import limit_threads_to_quota

    limit_threads_to_quota()
    check_out(bench.out, folder=True)
    wanted = bench.evaluate and experiment.kind in ("table", "curves")
    outcomes = [_outcome(arm, replace(bench, evaluate=wanted)) for arm in experiment.arms]
    report = _report(experiment, outcomes, bench)
    if bench.latex:
        return report
    return "\n".join([f"## {experiment.title}", "", *_scaled(bench), report])


def _scaled(bench: Bench) -> list[str]:
    """A warning on top of the report of a shortened run."""
    if bench.scale == 1:
        return []
    return [
        f"**Scale {bench.scale:g}: what is trained here is trained for fewer epochs than published.**",
        "",
    ]


def _report(experiment: Experiment, outcomes: Sequence[ArmResult], bench: Bench) -> str:
    from training.reproduce.comparison import comparison, costs

    if experiment.kind == "costs":
        return costs(outcomes, latex=bench.latex)
    if experiment.kind == "gaps":
        return _gaps(experiment, outcomes, bench)
    report, plotted = comparison(outcomes, latex=bench.latex), _curves(experiment, outcomes, bench.out)
    return report if bench.latex else report + plotted


def _outcome(arm: Arm, bench: Bench) -> ArmResult:
    from smoothcert.schemas.evaluation_run import read_run
    from training.reproduce.comparison import ArmResult

    found = _find(arm, bench, 1.0) or (_find(arm, bench, bench.scale) if bench.scale != 1 else None)
    if found is None and bench.train:
        _train(arm, bench)
        found = _find(arm, bench, bench.scale)
    if found is None:
        return ArmResult(arm, every=bench.every)
    checkpoint, scale = found
    log = _log(arm, checkpoint, bench)
    run = read_run(_log_path(checkpoint, bench))
    return ArmResult(arm, checkpoint.card, log, scale, run.every if run else bench.every)


def _find(arm: Arm, bench: Bench, scale: float) -> tuple[Checkpoint, float] | None:
    """A finished checkpoint of this recipe and its scale: one trained here, else a bundled one."""
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.cli.settings import settings
    from smoothcert.models.registry import CARD_FILE, ModelRegistry, read_card

    recipe = arm.recipe(arm.dataset, scale)
    for root in (bench.out / CHECKPOINTS, settings().models):
        folder = root / _checkpoint_name(arm, scale)
        if (folder / CARD_FILE).is_file() and _is_of(read_card(folder), recipe):
            return Checkpoint(folder, ModelRegistry(root).card(folder.name)), scale
    return None


def _is_of(card: ModelCard, recipe: Recipe) -> bool:
    return (
        card.architecture == recipe.architecture
        and card.dataset == recipe.dataset.split(":")[0]
        and card.sigma == recipe.method.sigma
        and card.method_options == _options(recipe)
        and card.training.get("initial") is None
        and card.training.items() >= recipe.record()["schedule"].items()
    )


def _options(recipe: Recipe) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(json.dumps(asdict(recipe.method)))
    del options["sigma"]
    return options


def _train(arm: Arm, bench: Bench) -> None:
    from training.run import STATE_FILE
    from training.teacher import Teaching

    name = _checkpoint_name(arm, bench.scale)
    folder = bench.out / CHECKPOINTS / name
    note(f"training {name}")
    images = _images(arm.dataset, "train", bench.data_root)
    recipe = arm.recipe(arm.dataset, bench.scale, images.input_shape[0])
    resume = bench.resume and (folder / STATE_FILE).exists()
    teaching = Teaching(votes=max(1, round(Teaching.votes * bench.scale)))
    fit(recipe, images, folder, resume=resume, precision=bench.precision, teaching=teaching)


def _log(arm: Arm, checkpoint: Checkpoint, bench: Bench) -> Log | None:
    """The evaluation log of an arm, completed if `evaluate`; None if there is none."""
    from smoothcert.cli.checkpoints import Selection
    from smoothcert.cli.evaluate import run_evaluation

    path = _log_path(checkpoint, bench)
    if not bench.evaluate:
        return _kept_log(path, checkpoint)
    note(f"certifying {checkpoint.card.name}")
    request = parameters(
        {"procedure": "certify"} | ({} if bench.n is None else {"n": bench.n}), checkpoint.card.sigma
    )
    selection = Selection(arm.dataset, "test", bench.data_root, bench.every, None)
    seed = None if path.exists() else SEED
    return run_evaluation(
        checkpoint, request, selection, path, seed=seed, engine=None, resume=bench.resume
    ).log


def _kept_log(path: Path, checkpoint: Checkpoint) -> Log | None:
    from smoothcert.schemas.evaluation_log import read_log
    from smoothcert.schemas.evaluation_run import read_run

    run = read_run(path)
    if run and run.weights_sha256 != checkpoint.card.weights_sha256:
        note(f"{path} is left out: it is of other weights than {checkpoint.folder}")
        return None
    return replace(read_log(path), of=run.split_images if run else None) if path.exists() else None


def _log_path(checkpoint: Checkpoint, bench: Bench) -> Path:
    return bench.out / f"{checkpoint.card.name}.tsv"


def _curves(experiment: Experiment, outcomes: Sequence[ArmResult], out: Path) -> str:
    from smoothcert.plot import save_panels
    from training.reproduce.comparison import by_heading

    panels = [
        (heading, [replace(item.log, name=item.label) for item in some if item.log and item.log.rows])
        for heading, some in by_heading(outcomes)
    ]
    panels = [(heading, logs) for heading, logs in panels if logs]
    if not panels:
        return ""
    path = out / f"{experiment.name}.svg"
    save_panels(panels, path)
    return f"\nPlot: {path}\n"


def _gaps(experiment: Experiment, outcomes: Sequence[ArmResult], bench: Bench) -> str:
    from training.reproduce.gaps import gaps_table, save_histograms

    measured = [_gaps_of(item, bench) for item in outcomes if item.card is not None]
    missing = [f"- {item.arm.label}: not trained" for item in outcomes if item.card is None]
    if not measured:
        return "\n".join(missing) + "\n"
    path = bench.out / f"{experiment.name}.svg"
    save_histograms(measured, path)
    return "\n".join([gaps_table(measured), *missing, f"test image {bench.image}: {path}"]) + "\n"


def _gaps_of(outcome: ArmResult, bench: Bench) -> Gaps:
    from smoothcert.models.checkpoint import load_network
    from training.reproduce.gaps import Gaps, log_probability_gaps

    found = _find(outcome.arm, bench, outcome.scale)
    assert found is not None
    checkpoint, _ = found
    images = _images(outcome.arm.dataset, "test", bench.data_root)
    network = load_network(checkpoint.folder, checkpoint.card)
    label = int(images.labels[bench.image])
    gaps = log_probability_gaps(network, images.images_u8[bench.image], label, outcome.arm.sigma)
    return Gaps(outcome.training_label, gaps.numpy())


def _checkpoint_name(arm: Arm, scale: float) -> str:
    return arm.name if scale == 1 else f"{arm.name}-x{scale:g}"


@cache
def _images(dataset: str, split: Split, data_root: Path) -> ImageSet:
    from training.datasets import load_dataset

    return load_dataset(dataset, split, data_root)
