"""smoothcert attack: tries to break certificates inside their radius."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smoothcert.cli.asking import N0, Alpha, Dataset, EngineConfig, N, Procedure, given, parameters
from smoothcert.cli.output import check_out, show, show_json, show_table

if TYPE_CHECKING:
    from smoothcert.cli.attacking import Attacked, Order, Totals


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
    setup: EngineConfig = None,
    out: Annotated[Path | None, typer.Option(metavar="LOG", help="Keep a line an image, as it ends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one document.")] = False,
) -> None:
    """Try to break certificates.

    Inside the certified radius nothing should change the smoothed classifier's class (a certificate is
    wrong with probability alpha at most). Outside, the smallest radius that breaks is searched for: the gap
    between proved and broken. A break counts only if fresh votes prove it.
    """
    from smoothcert.attack.attack import Budget
    from smoothcert.cli.attacking import Totals, carry_out, open_log, prepare
    from smoothcert.cli.checkpoints import find_checkpoint
    from smoothcert.cli.evaluating import Selection

    check_out(out)
    checkpoint = find_checkpoint(model)
    asked = parameters(given(n=n, n0=n0, alpha=alpha, procedure=procedure), checkpoint.card.sigma)
    budget = Budget(restarts=restarts, steps=steps, noises=noises, votes=check_votes, farthest=farthest)
    selection = Selection(dataset, split, data_root, every, limit)
    order = prepare(checkpoint, asked, selection, budget, seed=seed, setup=setup)
    with open_log(out) if out else nullcontext() as log:
        attacked = carry_out(order, log)
    totals = Totals.of(attacked)
    if as_json:
        show_json(_document(order, attacked, totals))
    else:
        _say(attacked, totals)


def _document(order: "Order", attacked: list["Attacked"], totals: "Totals") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": order.run.model_dump(),
        "budget": asdict(order.budget),
        "images": [one.document for one in attacked],
        "totals": asdict(totals),
    }


def _say(attacked: list["Attacked"], totals: "Totals") -> None:
    from smoothcert.cli.attacking import COLUMNS

    show_table(COLUMNS, [one.cells for one in attacked])
    show(f"{totals.images} images, {totals.certified} certified, {totals.abstained} abstained")
    show(f"broken inside the certified radius: {totals.broken_inside}")
    if totals.mean_gap is None:
        show("broken outside: none")
        return
    show(
        f"broken outside: {totals.broken_outside}; the smallest broken radius is on average "
        f"{totals.mean_gap:.3f} times the certified one ({totals.mean_distance:+.3f})"
    )
