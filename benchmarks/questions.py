"""What stopping early saves on real images: each question asked of the votes of a finished fixed-n log.

python benchmarks/questions.py MODEL --log docs/results/MODEL.tsv --data-root DIR --out FOLDER

Every image is certified anew for "is R >= r?" (three r) and for `tolerance`, under the log's set-up and from
the seed of its row there: the votes are a prefix of that row's. `--reshuffle` takes the log's own votes in a
random order instead, which needs no network and is as likely as the order in which they came. Writes
FOLDER/MODEL.QUESTION.tsv image by image, goes on where it was killed, and prints Markdown: votes, certified
accuracy and ACR against fixed n.
"""

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from statistics import fmean as mean

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from certification.contract.parameters import Parameters
from certification.noise import slack
from certification.procedure import Certification, Result, drive
from certification.votes import Counts, VoteRange, VoteSource
from smoothcert.checkpoints import build_engine, find_checkpoint
from smoothcert.evaluating import Selection, load_images
from training.journal import Run, read_run
from training.log import Row, read_log

CHUNK = 1024  # votes asked for at a time: a job that may stop early must not overshoot its look
Wish = dict[str, float]
SourceOf = Callable[[Row], VoteSource]
QUESTIONS: dict[str, Wish] = {
    "target-0.25": {"target_radius": 0.25},
    "target-0.50": {"target_radius": 0.5},
    "target-1.00": {"target_radius": 1.0},
    "tolerance-0.05": {"tolerance": 0.05},
    "anytime": {},
}
COLUMNS = ("idx", "label", "predict", "radius", "drawn", "seconds")


@dataclass(frozen=True)
class Asked:
    """One image's answer. radius: l2, pixels in [0,1]; predict: -1 where it abstained; drawn: votes."""

    idx: int
    label: int
    predict: int
    radius: float
    drawn: int
    seconds: float

    @property
    def right(self) -> bool:
        return self.predict == self.label


class LoggedVotes:
    """A finished row's votes in a random order: votes are independent, so every order is equally likely.

    The selection votes, which logs don't keep, are drawn anew at the shares of the counts.
    """

    def __init__(self, row: Row, slack: float) -> None:
        assert row.evidence is not None, "a log of ours"
        rng = np.random.default_rng(row.idx)
        counts_K = np.array(row.evidence.counts)
        self.num_classes, self.slack = len(counts_K), slack
        self._votes = {
            "estimation": rng.permutation(np.repeat(np.arange(self.num_classes), counts_K)),
            "selection": rng.choice(self.num_classes, row.evidence.n0, p=counts_K / counts_K.sum()),
        }

    def count(self, votes: VoteRange) -> Counts:
        return np.bincount(self._votes[votes.stage][votes.start : votes.stop], minlength=self.num_classes)


def ask(source: VoteSource, row: Row, wish: Wish) -> Asked:
    """Certify one image of the log under a wish."""
    started = time.perf_counter()
    evidence = row.evidence
    assert evidence is not None, "a log of ours"
    asked = {"sigma": evidence.sigma, "n": evidence.n, "n0": evidence.n0, "alpha": evidence.alpha}
    parameters = Parameters.model_validate(asked | wish)
    certification = Certification(parameters, source.num_classes, slack=source.slack)
    for _ in drive(certification, source, CHUNK):
        pass
    return _asked(certification.result, row, time.perf_counter() - started)


def _asked(result: Result, row: Row, seconds: float) -> Asked:
    predict = -1 if result.predicted_class is None else result.predicted_class
    return Asked(row.idx, row.label, predict, result.radius, result.drawn, round(seconds, 4))


def read_asked(path: Path) -> list[Asked]:
    """What an earlier run has answered; none when there was none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            Asked(
                int(r["idx"]),
                int(r["label"]),
                int(r["predict"]),
                float(r["radius"]),
                int(r["drawn"]),
                float(r["seconds"]),
            )
            for r in csv.DictReader(file, delimiter="\t")
            if r["seconds"]
        ]


def ask_all(source_of: SourceOf, rows: Iterable[Row], wish: Wish, path: Path) -> list[Asked]:
    """Every row's image, those answered before excepted; each answer is on disk before the next begins."""
    done = read_asked(path)
    known = {asked.idx for asked in done}
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(asked, column) for column in COLUMNS] for asked in done)
        for row in rows:
            if row.idx not in known:
                done.append(ask(source_of(row), row, wish))
                writer.writerow([getattr(done[-1], column) for column in COLUMNS])
                file.flush()
    return done


def line(name: str, got: Sequence[Asked], base: Sequence[Row], n: int) -> str:
    """One question as a row of the table."""
    votes = mean([asked.drawn for asked in got])
    target = QUESTIONS[name].get("target_radius")
    figures = acr(got, base) if target is None else certified_accuracy(got, base, target)
    abstained, fixed = mean([asked.predict < 0 for asked in got]), mean([row.abstained for row in base])
    seconds = mean([asked.seconds for asked in got])
    cells = (
        name,
        f"{votes:,.0f}",
        f"{n / votes:.2f}x",
        f"{seconds:.3f}",
        figures,
        f"{abstained:.1%} ({fixed:.1%})",
    )
    return f"| {' | '.join(cells)} |"


def acr(got: Sequence[Asked], base: Sequence[Row]) -> str:
    ours, fixed = (mean([one.radius * one.right for one in many]) for many in (got, base))
    return f"ACR {ours:.4f} against {fixed:.4f} ({ours / fixed - 1:+.2%})"


def certified_accuracy(got: Sequence[Asked], base: Sequence[Row], target: float) -> str:
    ours, fixed = (mean([one.right and one.radius >= target for one in many]) for many in (got, base))
    return f"{ours:.1%} certified against {fixed:.1%} ({100 * (ours - fixed):+.1f} points)"


def reshuffled(run: Run, pixels: int) -> SourceOf:
    """The log's own votes in a random order."""
    lost = slack(run.sigma, pixels)
    return lambda row: LoggedVotes(row, lost)


def drawn_by_network(arguments: argparse.Namespace, run: Run) -> SourceOf:
    """The log's votes, drawn again under its set-up from its seeds."""
    checkpoint = find_checkpoint(arguments.model)
    selection = Selection(run.dataset, "test", arguments.data_root, run.every, None)
    images = load_images(checkpoint, selection).images_u8
    engine = build_engine(checkpoint, run.setup)

    def source_of(row: Row) -> VoteSource:
        assert row.evidence is not None, "a log of ours"
        return engine.sampler(images[row.idx].numpy(), run.sigma, int(row.evidence.seed, 16))

    return source_of


def largest_radius(run: Run) -> float:
    """What n votes of one mind prove, about: above it a question is refused."""
    return run.sigma * NormalDist().inv_cdf(run.alpha ** (1 / run.n))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--log", type=Path, required=True, help="the fixed-n log to hold the answers against")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the answers, image by image")
    parser.add_argument(
        "--reshuffle", action="store_true", help="no network: the log's votes, in random order"
    )
    parser.add_argument(
        "--questions", nargs="+", choices=QUESTIONS, default=[q for q in QUESTIONS if q != "anytime"]
    )
    arguments = parser.parse_args()
    run, base = read_run(arguments.log), read_log(arguments.log).rows
    assert run is not None, "the log's .run.json names its set-up"
    pixels = math.prod(find_checkpoint(arguments.model).card.input_shape)
    source_of = reshuffled(run, pixels) if arguments.reshuffle else drawn_by_network(arguments, run)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{run.model}, {len(base)} images, n = {run.n}, {run.setup}")
    print("| question | mean votes | fewer than n | s an image | against fixed n | abstained (fixed n) |")
    print("|---|---:|---:|---:|---|---:|")
    for name in arguments.questions:
        path = arguments.out / f"{run.model}.{name}.tsv"
        if QUESTIONS[name].get("target_radius", 0.0) > largest_radius(run):
            print(f"| {name} | beyond what {run.n} votes can prove | | | | |")
            continue
        got = ask_all(source_of, base, QUESTIONS[name], path)
        print(line(name, got, base, run.n), flush=True)


if __name__ == "__main__":
    main()
