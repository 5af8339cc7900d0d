"""smoothcert attack: search for adversarial examples inside and outside certified radii."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smoothcert.cli.attack_results import (
    COLUMNS,
    CURVES,
    AttackedImage,
    AttackRun,
    AttackTotals,
    curves,
    log_line,
    read_lines,
)
from smoothcert.cli.options import N0, Alpha, Dataset, EngineOption, N, Procedure, given, parameters
from smoothcert.cli.output import check_out, show, show_json, show_table
from smoothcert.errors import InvalidRequest
from smoothcert.progress import Update, progress_bar
from smoothcert.schemas.evaluation_run import read_run_as

if TYPE_CHECKING:
    from smoothcert.attack.attack import Attacker, Budget
    from smoothcert.attack.bare import BareAttacker
    from smoothcert.cli.checkpoints import Checkpoint, Selection
    from smoothcert.schemas.evaluation_log import Row
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from smoothcert.schemas.parameters import Parameters
    from training.datasets.image_set import ImageSet
    from training.evaluation import LogWriter


def attack(
    model: Annotated[str, typer.Argument(help="A bundled name or a checkpoint folder.")],
    *,
    dataset: Dataset,
    split: Annotated[Literal["train", "test"], typer.Option(help="Of the data set.")] = "test",
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    every: Annotated[int, typer.Option(min=1, help="Every K-th image: 0, K, 2K, ...")] = 1,
    limit: Annotated[int | None, typer.Option(min=0, help="Attack this many images at most.")] = None,
    n: N = None,
    n0: N0 = None,
    alpha: Alpha = None,
    procedure: Procedure = "anytime",
    restarts: Annotated[int, typer.Option(min=1, help="Of PGD at each radius.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Of PGD.")] = 20,
    noises: Annotated[int, typer.Option(min=1, help="In each step.")] = 32,
    check_votes: Annotated[int, typer.Option(min=1, help="Of the PREDICT that checks each find.")] = 10_000,
    inside_votes: Annotated[
        int, typer.Option(min=1, help="Of that PREDICT inside the certified radius, at most.")
    ] = 200_000,
    bare_steps: Annotated[
        int, typer.Option(min=0, help="Of DDN on the bare network, without noise; 0 leaves it out.")
    ] = 100,
    farthest: Annotated[float, typer.Option(min=1, help="Search up to this multiple of the radius.")] = 4.0,
    seed: Annotated[int | None, typer.Option(help="Of the whole run; random unless given.")] = None,
    engine: EngineOption = None,
    out: Annotated[Path | None, typer.Option(metavar="LOG", help="Keep a line an image, as it ends.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue --out after a kill.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The curves, proved and attacked, .png or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one document.")] = False,
) -> None:
    """Try to break certificates, and the network without smoothing.

    Inside the certified radius nothing should change the smoothed classifier's class (a certificate is
    wrong with probability alpha at most). Outside, the smallest radius that breaks is searched for: the gap
    between proved and broken. A break counts only if fresh votes prove it. Beside them stands the smallest
    perturbation found that changes the class of the bare network, which nothing defends.
    """
    from smoothcert.attack.attack import Budget
    from smoothcert.cli.checkpoints import Selection, find_checkpoint

    check_out(out)
    if plot is not None:
        from smoothcert.plot import check_plot_path

        check_plot_path(plot)
    checkpoint = find_checkpoint(model)
    request = parameters(given(n=n, n0=n0, alpha=alpha, procedure=procedure), checkpoint.card.sigma)
    budget = Budget(
        restarts=restarts,
        steps=steps,
        noises=noises,
        votes=check_votes,
        inside_votes=inside_votes,
        farthest=farthest,
        bare_steps=bare_steps,
    )
    selection = Selection(dataset, split, data_root, every, limit)
    if resume and out is None:
        raise InvalidRequest("--resume continues a log: name it with --out.")
    kept = read_run_as(AttackRun, out) if resume and out else None
    plan = make_plan(checkpoint, request, selection, budget, kept=kept, seed=seed, engine=engine)
    attacked = run_attacks(plan, out, resume=resume)
    totals = AttackTotals.of(attacked)
    if as_json:
        show_json(_document(plan, attacked, totals))
    else:
        _print(plan, attacked, totals)
    if plot is not None:
        _plot(attacked, plot)


def _document(plan: AttackPlan, attacked: list[AttackedImage], totals: AttackTotals) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": plan.run.model_dump(),
        "budget": asdict(plan.budget),
        "images": [item.document for item in attacked],
        "totals": asdict(totals),
        "resolution": plan.resolution,
        "curves": [asdict(point) for point in curves(attacked)],
    }


def _print(plan: AttackPlan, attacked: list[AttackedImage], totals: AttackTotals) -> None:
    from smoothcert.stats.bounds import ceil_to

    show_table(COLUMNS, [item.cells for item in attacked])
    show(f"{totals.images} images, {totals.certified} certified, {totals.abstained} abstained")
    show(f"broken inside the certified radius: {totals.broken_inside}")
    too_large = ceil_to(plan.resolution, 4)
    show(
        f"at a flat boundary, a radius too large by {too_large:.4f} ({plan.resolution / plan.run.sigma:.3f} "
        "sigma) is broken at least half of the time; smaller errors are mostly missed"
    )
    if totals.mean_gap is None:
        show("broken outside: none")
    else:
        show(
            f"broken outside: {totals.broken_outside}; the smallest broken radius is on average "
            f"{totals.mean_gap:.3f} times the certified one ({totals.mean_distance:+.3f})"
        )
    if totals.mean_bare_radius is not None:
        show(
            f"bare network: right on {totals.bare_right}, broken on {totals.bare_broken}; the smallest "
            f"perturbation is on average {totals.mean_bare_radius:.3f}"
        )
    show("\nshare of images right at every point within r (proved), or not broken within r (attacked):\n")
    show_table(CURVES, [point.cells for point in curves(attacked)])


def _plot(attacked: list[AttackedImage], path: Path) -> None:
    from smoothcert.plot import save_survival

    standing = [item.standing for item in attacked]
    save_survival({name: [one[k] for one in standing] for k, name in enumerate(CURVES[1:])}, path)


Report = Callable[[float, str], None]  # share of the image under way, what happens


@dataclass(frozen=True)
class AttackPlan:
    """The images to attack and the budget."""

    checkpoint: Checkpoint
    run: AttackRun
    images: ImageSet
    indices: range
    budget: Budget

    @property
    def resolution(self) -> float:
        """By how much a radius must be too large to be refuted half of the time, at a flat boundary."""
        return self.budget.resolution(self.run.sigma)


def make_plan(
    checkpoint: Checkpoint,
    request: Parameters,
    selection: Selection,
    budget: Budget,
    *,
    kept: AttackRun | None,
    seed: int | None,
    engine: str | None,
) -> AttackPlan:
    """Check the request and load the images, before the first vote. Raises InvalidRequest.

    kept: the run that is resumed; its seed and engine are kept unless they are given.
    """
    from smoothcert.cli.checkpoints import load_images
    from smoothcert.cli.evaluate import describe_run
    from smoothcert.schemas.parameters import refuse_impossible
    from smoothcert.stats.bounds import least_n
    from training.evaluation import selected_indices

    if request.procedure == "predict":
        raise InvalidRequest("--procedure predict proves no radius that could be attacked.")
    refuse_impossible(request)
    budget = replace(budget, alpha=request.alpha)
    least = least_n(budget.alpha_per_check, "predict")
    if budget.votes < least:
        raise InvalidRequest(f"--check-votes {budget.votes} can never prove a break: the least is {least}.")
    images = load_images(checkpoint, selection)
    certified = describe_run(checkpoint, request, selection, images, kept=kept, seed=seed, engine=engine)
    indices = selected_indices(len(images), selection.every, selection.limit)
    return AttackPlan(checkpoint, _attack_run(certified, budget), images, indices, budget)


def _attack_run(certified: EvaluationRun, budget: Budget) -> AttackRun:
    return AttackRun(
        **certified.model_dump(),
        restarts=budget.restarts,
        steps=budget.steps,
        noises=budget.noises,
        check_votes=budget.votes,
        inside_votes=budget.inside_votes,
        bare_steps=budget.bare_steps,
        farthest=budget.farthest,
    )


def run_attacks(plan: AttackPlan, out: Path | None, *, resume: bool) -> list[AttackedImage]:
    """Attack the images that the log lacks; each is logged when done, so that a kill loses only one."""
    with _open_log(plan, out, resume=resume) as log, progress_bar("images") as update:
        done = list(log.rows) if log else []
        known = {item.idx for item in done}
        rest = [idx for idx in plan.indices if idx not in known]
        for item in _each(plan, rest, _reporter(update, done, len(plan.indices))):
            done.append(item)
            if log:
                log.append(item)
    return done


def _open_log(
    plan: AttackPlan, out: Path | None, *, resume: bool
) -> LogWriter[AttackedImage] | nullcontext[None]:
    from training.evaluation import LogFormat, LogWriter

    if out is None:
        return nullcontext()
    form = LogFormat("\t".join(COLUMNS) + "\n", log_line, read_lines)
    return LogWriter(out, plan.run, form, resume=resume)


def _reporter(update: Update, done: Sequence[AttackedImage], of: int) -> Report:
    return lambda passed, text: update(len(done) + passed, of, text)


def _each(plan: AttackPlan, rest: Sequence[int], report: Report) -> Iterator[AttackedImage]:
    from smoothcert.attack.attack import Attacker
    from smoothcert.attack.bare import BareAttacker
    from smoothcert.cli.checkpoints import build_engine
    from smoothcert.engines.config import EngineConfig
    from smoothcert.models.checkpoint import load_network
    from training.evaluation import evaluate

    if not rest:
        return
    card, run = plan.checkpoint.card, plan.run
    engine, config = build_engine(plan.checkpoint, run.setup), EngineConfig.parse(run.setup)
    network, budget = load_network(plan.checkpoint.folder, card), plan.budget
    shape, classes = card.input_shape, len(card.labels)
    attacker = Attacker(network, shape, classes, config=config, sigma=run.sigma, budget=budget)
    bare = BareAttacker(network, steps=budget.bare_steps, device=config.device)
    for step in evaluate(engine, plan.images, run, rest):
        if step.row is None:
            report(0.0, f"image {step.idx}: {step.votes} of {step.of} votes")
        else:
            yield _attack(plan, attacker, bare, step.row, report)


def _attack(
    plan: AttackPlan, attacker: Attacker, bare: BareAttacker, row: Row, report: Report
) -> AttackedImage:
    from smoothcert.attack.attack import AttackResult, Claim
    from smoothcert.schemas.limits import image_seed

    started, image_CHW = time.perf_counter(), plan.images.images_u8[row.idx].numpy()
    seed = int(image_seed(plan.run.seed, row.idx), 16)
    undefended = bare.attack(image_CHW, seed) if plan.budget.bare_steps else None
    if row.abstained or row.radius == 0:
        return AttackedImage.of(row, None, row.seconds + time.perf_counter() - started, undefended)
    claim = Claim(image_CHW, row.predict, row.radius)
    attempts = []
    for attempt in attacker.attempts(claim, seed):
        attempts.append(attempt)
        what = "holds" if attempt.found is None else "broken"
        report(len(attempts) / (plan.budget.radii + 1), f"image {row.idx}: {what} at {attempt.radius:.3f}")
    seconds = row.seconds + time.perf_counter() - started
    return AttackedImage.of(row, AttackResult.of(claim, attempts), seconds, undefended)
