"""smoothcert attack: search for adversarial examples inside and outside certified radii."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from smoothcert.cli.options import N0, Alpha, Dataset, EngineOption, N, Procedure, given, parameters
from smoothcert.cli.output import check_out, show, show_json, show_table
from smoothcert.errors import InvalidRequest
from smoothcert.files import is_stream, open_stream
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from smoothcert.attack.attack import Attacker, AttackResult, Budget
    from smoothcert.cli.checkpoints import Checkpoint, Selection
    from smoothcert.schemas.evaluation_log import Row
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from smoothcert.schemas.parameters import Parameters
    from training.datasets.image_set import ImageSet


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
    farthest: Annotated[float, typer.Option(min=1, help="Search up to this multiple of the radius.")] = 4.0,
    seed: Annotated[int | None, typer.Option(help="Of the whole run; random unless given.")] = None,
    engine: EngineOption = None,
    out: Annotated[Path | None, typer.Option(metavar="LOG", help="Keep a line an image, as it ends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one document.")] = False,
) -> None:
    """Try to break certificates.

    Inside the certified radius nothing should change the smoothed classifier's class (a certificate is
    wrong with probability alpha at most). Outside, the smallest radius that breaks is searched for: the gap
    between proved and broken. A break counts only if fresh votes prove it.
    """
    from smoothcert.attack.attack import Budget
    from smoothcert.cli.checkpoints import Selection, find_checkpoint

    check_out(out)
    checkpoint = find_checkpoint(model)
    request = parameters(given(n=n, n0=n0, alpha=alpha, procedure=procedure), checkpoint.card.sigma)
    budget = Budget(restarts=restarts, steps=steps, noises=noises, votes=check_votes, farthest=farthest)
    selection = Selection(dataset, split, data_root, every, limit)
    plan = make_plan(checkpoint, request, selection, budget, seed=seed, engine=engine)
    with open_log(out) if out else nullcontext() as log:
        attacked = run_attacks(plan, log)
    totals = AttackTotals.of(attacked)
    if as_json:
        show_json(_document(plan, attacked, totals))
    else:
        _print(attacked, totals)


def _document(plan: AttackPlan, attacked: list[AttackedImage], totals: AttackTotals) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": plan.run.model_dump(),
        "budget": asdict(plan.budget),
        "images": [item.document for item in attacked],
        "totals": asdict(totals),
    }


def _print(attacked: list[AttackedImage], totals: AttackTotals) -> None:

    show_table(COLUMNS, [item.cells for item in attacked])
    show(f"{totals.images} images, {totals.certified} certified, {totals.abstained} abstained")
    show(f"broken inside the certified radius: {totals.broken_inside}")
    if totals.mean_gap is None:
        show("broken outside: none")
        return
    show(
        f"broken outside: {totals.broken_outside}; the smallest broken radius is on average "
        f"{totals.mean_gap:.3f} times the certified one ({totals.mean_distance:+.3f})"
    )


COLUMNS = ("idx", "label", "class", "radius", "broken_inside", "broken", "gap", "checks", "seconds")
Report = Callable[[float, str], None]  # share of the image under way, what happens
DIGITS = 6  # of radii: the proved rounded down, the broken rounded up


@dataclass(frozen=True)
class AttackedImage:
    """The attack on one image. result: None if the classifier abstained."""

    row: Row
    result: AttackResult | None
    seconds: float

    @property
    def gap(self) -> float | None:
        """The smallest broken radius as a multiple of the certified one."""
        if self.result is None or self.result.broken is None:
            return None
        return self.result.broken / self.result.radius

    @property
    def cells(self) -> list[str]:
        """The cells of its line in the log; `-` for missing values."""
        from smoothcert.stats.bounds import ceil_to, floor_to

        found, gap = self.result, self.gap
        inside = "-" if found is None else str(int(not found.holds))
        broken = "-" if found is None or found.broken is None else f"{ceil_to(found.broken, DIGITS):.6f}"
        checks = "-" if found is None else str(found.checks)
        known = [str(self.row.idx), str(self.row.label), str(self.row.predict)]
        radius = f"{floor_to(self.row.radius, DIGITS):.6f}"
        shown_gap = "-" if gap is None else f"{gap:.3f}"
        return [*known, radius, inside, broken, shown_gap, checks, f"{self.seconds:.1f}"]

    @property
    def document(self) -> dict[str, Any]:
        """Its entry in the document of `--json`; null for missing values."""
        found = self.result
        return {
            "idx": self.row.idx,
            "label": self.row.label,
            "class": None if self.row.abstained else self.row.predict,
            "radius": self.row.radius,
            "broken_inside": None if found is None else not found.holds,
            "broken_radius": None if found is None else found.broken,
            "checks": 0 if found is None else found.checks,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class AttackTotals:
    """Totals. mean_gap, mean_distance: mean ratio and difference of broken and certified radius."""

    images: int
    abstained: int
    certified: int
    broken_inside: int
    broken_outside: int
    mean_radius: float | None
    mean_broken_radius: float | None
    mean_distance: float | None
    mean_gap: float | None

    @classmethod
    def of(cls, all_attacked: Sequence[AttackedImage]) -> AttackTotals:
        found = [item.result for item in all_attacked if item.result]
        broken = [(item.broken, item.radius) for item in found if item.broken is not None]
        return cls(
            images=len(all_attacked),
            abstained=len(all_attacked) - len(found),
            certified=len(found),
            broken_inside=sum(not item.holds for item in found),
            broken_outside=sum(item.holds and item.broken is not None for item in found),
            mean_radius=_mean([item.radius for item in found]),
            mean_broken_radius=_mean([outside for outside, _ in broken]),
            mean_distance=_mean([outside - proved for outside, proved in broken]),
            mean_gap=_mean([outside / proved for outside, proved in broken]),
        )


@dataclass(frozen=True)
class AttackPlan:
    """The images to attack and the budget."""

    checkpoint: Checkpoint
    run: EvaluationRun
    images: ImageSet
    indices: range
    budget: Budget


def make_plan(
    checkpoint: Checkpoint,
    request: Parameters,
    selection: Selection,
    budget: Budget,
    *,
    seed: int | None,
    engine: str | None,
) -> AttackPlan:
    """Check the request and load the images, before the first vote. Raises InvalidRequest."""
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
    run = describe_run(checkpoint, request, selection, images, kept=None, seed=seed, engine=engine)
    indices = selected_indices(len(images), selection.every, selection.limit)
    return AttackPlan(checkpoint, run, images, indices, budget)


def run_attacks(plan: AttackPlan, log: IO[str] | None) -> list[AttackedImage]:
    """Attack image after image; each is logged when done, so that an interrupt loses none."""
    done: list[AttackedImage] = []
    if log is not None:
        _write(log, COLUMNS)
    with progress_bar("images") as update:
        for item in _each(plan, lambda passed, text: update(len(done) + passed, len(plan.indices), text)):
            done.append(item)
            if log is not None:
                _write(log, item.cells)
    return done


def open_log(path: Path) -> IO[str]:
    """Open a new file, or a device or pipe. Raises InvalidRequest if it exists or can't be written."""
    try:
        return TextIOWrapper(open_stream(path)) if is_stream(path) else path.resolve().open("x")
    except FileExistsError:
        raise InvalidRequest(f"{path} is there already; take another --out.") from None
    except OSError as error:
        raise InvalidRequest(f"--out {path} can't be written: {error.strerror}.") from error


def _each(plan: AttackPlan, report: Report) -> Iterator[AttackedImage]:
    from smoothcert.attack.attack import Attacker
    from smoothcert.cli.checkpoints import build_engine
    from smoothcert.engines.config import EngineConfig
    from smoothcert.models.checkpoint import load_network
    from training.evaluation import evaluate

    card, run = plan.checkpoint.card, plan.run
    engine = build_engine(plan.checkpoint, run.setup)
    attacker = Attacker(
        load_network(plan.checkpoint.folder, card),
        card.input_shape,
        len(card.labels),
        config=EngineConfig.parse(run.setup),
        sigma=run.sigma,
        budget=plan.budget,
    )
    for step in evaluate(engine, plan.images, run, plan.indices, done=()):
        if step.row is None:
            report(0.0, f"image {step.idx}: {step.votes} of {step.of} votes")
        else:
            yield _attack(plan, attacker, step.row, report)


def _attack(plan: AttackPlan, attacker: Attacker, row: Row, report: Report) -> AttackedImage:
    from smoothcert.attack.attack import AttackResult, Claim
    from smoothcert.schemas.evaluation_run import image_seed

    if row.abstained or row.radius == 0:
        return AttackedImage(row, None, row.seconds)
    started = time.perf_counter()
    claim = Claim(plan.images.images_u8[row.idx].numpy(), row.predict, row.radius)
    attempts = []
    for attempt in attacker.attempts(claim, int(image_seed(plan.run.seed, row.idx), 16)):
        attempts.append(attempt)
        what = "holds" if attempt.found is None else "broken"
        report(len(attempts) / (plan.budget.radii + 1), f"image {row.idx}: {what} at {attempt.radius:.3f}")
    return AttackedImage(row, AttackResult.of(claim, attempts), row.seconds + time.perf_counter() - started)


def _write(log: IO[str], cells: Sequence[str]) -> None:
    log.write("\t".join(cells) + "\n")
    log.flush()


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
