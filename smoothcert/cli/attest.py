"""smoothcert attest: a statement about a data set, from an evaluation log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.checks import digests, model_of_log, other_card, read_evaluation, slack_of
from smoothcert.cli.output import check_out, rounded_down, show, table, write_file
from smoothcert.cli.timestamp import TimestampCa, TimestampUrl, add_stamp, authority_for
from smoothcert.errors import InvalidRequest

if TYPE_CHECKING:
    from smoothcert.schemas.card import ModelCard
    from smoothcert.schemas.certificate import ModelDigest
    from smoothcert.schemas.evaluation_log import Row
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from smoothcert.schemas.statement import DataDigest, Share, Statement

DEFAULT_BETA = 0.05
TINY = 1e-5  # such a beta is not rounded to 100 %
DEFAULT_RADII = tuple(k / 4 for k in range(11))  # those that no image reaches are left out
RADII_HELP = "Radii of the statement.  [default: 0,0.25 and so on, as far as certified]"


def attest(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="As evaluate --out wrote it.")],
    *,
    radii: Annotated[str | None, typer.Option(help=RADII_HELP)] = None,
    beta: Annotated[float, typer.Option(help="Failure probability of the statement.")] = DEFAULT_BETA,
    model: Annotated[
        str | None, typer.Option(help="The model as a name or folder; else the one the log names.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="STATEMENT.json", help="Keep the statement in a file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statement itself.")] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Keep it beside the model's card, which shows it.")
    ] = False,
    timestamp_url: TimestampUrl = None,
    timestamp_ca: TimestampCa = None,
) -> None:
    """State what an evaluation proves about the distribution of its images.

    At each radius: how many images are right and certified, and the share of the distribution of which that
    follows with confidence 1-beta. Signed if SMOOTHCERT_SIGNING_KEY names a key. --timestamp-url keeps a time
    stamp beside it, in STATEMENT.json.tsr.
    """
    check_out(out)
    authority = authority_for(out, timestamp_url, timestamp_ca)
    statement = make_statement(log, _parse_radii(radii), beta, model)
    document = statement.model_dump_json(indent=2)
    if out is not None:
        write_file(out, document + "\n", "--out")
    if update_card:
        _put_on_card(statement, log, model)
    show(document if as_json else describe_statement(statement))
    if authority and out:
        add_stamp(out, authority)


def make_statement(log: Path, radii: Sequence[float] | None, beta: float, model: str | None) -> Statement:
    """The statement of a log, signed if a key is configured. Raises InvalidRequest: none follows from it."""
    from smoothcert.schemas.statement import Statement
    from smoothcert.stats.statement import OF_RUN, Question, figures, problem

    if not 0 < beta < 1:
        raise InvalidRequest(f"--beta {beta}: it must be above 0 and below 1.")
    read, run = read_evaluation(log)
    checkpoint = model_of_log(run, model)
    card = checkpoint.card if checkpoint else None
    slack = slack_of(run, card)
    why = problem(read.rows, run, slack) or (other_card(run, card) if card else None)
    labels = tuple(card.labels) if card else _numbers(read.rows)
    why = why or _unlabelled(read.rows, len(labels))
    if why:
        raise InvalidRequest(f"{log} is no evidence for a statement: {why}.")
    chosen = tuple(radii) if radii else _reached(read.rows)
    question = Question(chosen, beta, labels)
    fields = {name: getattr(run, name) for name in OF_RUN} | figures(read.rows, run.alpha, question)
    fields |= {"model": _model_of(run, card), "data": _data_of(run), "engine": run.setup, "slack": slack}
    fields |= {"beta": beta, "issued_at": datetime.now(UTC)} | digests(log)
    return _signed(Statement.model_validate(fields))


def _put_on_card(statement: Statement, log: Path, model: str | None) -> None:
    """Write statement.json into the model's folder, then the card that names it. Raises InvalidRequest."""
    from smoothcert.models.registry import CARD_FILE, STATEMENT_FILE
    from smoothcert.schemas.card import CardStatement

    run = read_evaluation(log)[1]
    checkpoint = model_of_log(run, model)
    if checkpoint is None:
        raise InvalidRequest("--update-card needs the model: name its folder with --model.")
    if run.int8_sha256 is not None:
        raise InvalidRequest(f"--update-card: {log} is about {run.model} in int8, another classifier.")
    content = statement.model_dump_json(indent=2) + "\n"
    shown = CardStatement.of(statement, content.encode())
    card = checkpoint.card.model_copy(update={"statement": shown, "no_statement": None})
    write_file(checkpoint.folder / STATEMENT_FILE, content, "--update-card")
    write_file(checkpoint.folder / CARD_FILE, card.model_dump_json(indent=1) + "\n", "--update-card")


def _model_of(run: EvaluationRun, card: ModelCard | None) -> ModelDigest:
    from smoothcert.schemas.certificate import ModelDigest
    from smoothcert.stats.compare import precision_of

    classifier = card.classifier_sha256_in(precision_of(run.setup)) if card else None
    return ModelDigest(name=run.model, sha256=run.weights_sha256, classifier_sha256=classifier)


def _data_of(run: EvaluationRun) -> DataDigest:
    from smoothcert.schemas.statement import DataDigest

    named = {name: getattr(run, name) for name in ("dataset", "split", "split_images", "every")}
    return DataDigest(**named, sha256=run.data_sha256)


def _parse_radii(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        radii = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        radii = []
    if not radii or not all(0 <= radius < math.inf for radius in radii):
        raise InvalidRequest(
            f"--radii {text!r} is not a list of radii; write numbers from 0 with commas: 0.25,0.5."
        )
    return tuple(radii)


def _reached(rows: Sequence[Row]) -> tuple[float, ...]:
    most = max((row.radius for row in rows if row.predict == row.label), default=0.0)
    return tuple(radius for radius in DEFAULT_RADII if radius == 0 or radius < most)


def _numbers(rows: Sequence[Row]) -> tuple[str, ...]:
    counts = max((len(row.evidence.counts) for row in rows if row.evidence), default=1)
    return tuple(map(str, range(counts)))


def _unlabelled(rows: Sequence[Row], classes: int) -> str | None:
    for row in rows:
        if not 0 <= row.label < classes:
            return f"image {row.idx} has label {row.label}, and there are {classes} classes"
        if row.evidence and len(row.evidence.counts) != classes:
            return f"image {row.idx} has {len(row.evidence.counts)} counts, and there are {classes} classes"
    return None


def _signed(statement: Statement) -> Statement:
    from smoothcert.cli.settings import settings

    path = settings().signing_key
    if path is None:
        return statement
    from smoothcert.signing import Signer

    return Signer.read(path).sign(statement)


def describe_statement(s: Statement) -> str:
    """A statement as text, with tables of all images and of each class, in percent, rounded down."""
    drawn = f"{s.images} images, every {s.data.every} of the {s.data.split_images} {s.data.split} images of"
    confidence = f"{100 * (1 - s.beta):g} %" if s.beta > TINY else f"1 - {s.beta}"
    lines = [
        f"{s.model.name} at sigma {s.sigma:g}: {drawn} {s.data.dataset}",
        f"{s.procedure}, n {s.n}, alpha {s.alpha:g}: mean radius {rounded_down(s.mean_radius)}, "
        f"median {rounded_down(s.median_radius)}",
        f"with confidence {confidence} at least this share of the distribution is answered right at every",
        "point within r:",
        "",
        table(("r", "right", "of", "at least"), [_cells(_exact(share.radius), share) for share in s.radii]),
        "",
        f"by class, all together with confidence {confidence} (Bonferroni: beta {s.class_beta:g} each):",
        "",
        table(
            ("class", *(f"r={_exact(share.radius)}" for share in s.radii)),
            [(one.label, *(_percent(share.at_least) for share in one.radii)) for one in s.classes],
        ),
        "",
        "share of noisy copies classified right (p_A), quantiles over images:",
        "",
        table((*s.p_a,), [tuple(f"{math.floor(share * 1e4) / 1e4:.4f}" for share in s.p_a.values())]),
    ]
    return "\n".join(lines)


def _exact(radius: float) -> str:
    short = f"{radius:g}"
    return short if float(short) == radius else repr(radius)


def _percent(share: float) -> str:
    return f"{math.floor(share * 1000) / 10:.1f} %"


def _cells(first: str, share: Share) -> tuple[str, ...]:
    return first, str(share.right), str(share.of), _percent(share.at_least)
