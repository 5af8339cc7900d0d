"""Which looks? Compare ways to spend alpha, on images whose vote probabilities are known.

python benchmarks/schedules.py [--sigma 0.5] [--log LOG] [--repeat 10]

Without --log the images follow the published curve of Consistency on MNIST. Votes are simulated, so minutes
do for what a network would take days for. Prints Markdown.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from populations import Population, from_log, published
from stopping_rules import (
    ALPHA,
    Answers,
    Mixture,
    N,
    Question,
    Reader,
    Spending,
    ask,
    ask_the_product,
    fitted_mixture,
    geometric,
)

TARGETS = (0.25, 0.5, 1.0)  # l2
TOLERANCE = 0.05

FIXED = Spending("fixed n, one-sided", (N,), final=1.0, share=0.0)


def rules(others: Population) -> list[Reader]:
    """What is compared. The fitted prior sees other images only, or it would not be valid."""
    spending = [
        Spending(f"looks x{ratio}, {final:.0%} last", tuple(geometric(100, ratio)), final)
        for ratio in (1.1, 1.25, 1.5, 2.0)
        for final in (0.9, 0.5)
    ]
    return [
        FIXED,
        Spending("fixed n, runner-up .9/.1", (N,), final=1.0),
        Spending("fixed n, runner-up .5/.5", (N,), final=1.0, share=0.5),
        Spending("four stages, even", (100, 1000, 10_000, N), final=0.25),
        Spending("looks x1.25, 90% last, one-sided", tuple(geometric(100, 1.25)), share=0.0),
        *spending,
        Mixture("mixture, Beta(1/2, 1/2)", 0.5, 0.5),
        fitted_mixture(others),
    ]


def answers(rule: Reader | None, images: Population, question: Question) -> Answers:
    if rule is None:
        return ask_the_product(images, question)
    return ask(rule, images, question, np.random.default_rng(1))


def row(rule: Reader | None, images: Population, base: Answers) -> str:
    """Votes saved and certified accuracy or ACR against fixed n: by target, tolerance, largest R."""
    cells = [_target_cell(rule, images, base, target) for target in TARGETS]
    close, full = answers(rule, images, Question(tolerance=TOLERANCE)), answers(rule, images, Question())
    cells.append(f"{N / close.votes_N.mean():.2f}x {acr_change(close, base, images):+.2f} %")
    cells.append(f"{acr_change(full, base, images):+.2f} %")
    cells.append(f"{100 * np.mean(full.radius_N == 0):.1f} %")
    return f"| {rule.name if rule else 'certification.procedure'} | {' | '.join(cells)} |"


def _target_cell(rule: Reader | None, images: Population, base: Answers, target: float) -> str:
    got = answers(rule, images, Question(target=target))
    before, after = (np.mean((a.radius_N >= target) & images.right_N) for a in (base, got))
    return f"{N / got.votes_N.mean():.0f}x {100 * (after - before):+.2f}"


def acr_change(got: Answers, base: Answers, images: Population) -> float:
    """Average certified radius against the base's, in per cent."""
    return float(100 * ((got.radius_N * images.right_N).mean() / (base.radius_N * images.right_N).mean() - 1))


def cap(rule: Reader) -> str:
    """The largest radius: every vote for one class."""
    k_N, j_N = np.array([N]), np.array([0])
    radius = rule.radius(k_N, j_N, N, 1.0)[0]
    return f"{100 * (radius / FIXED.radius(k_N, j_N, N, 1.0)[0] - 1):+.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sigma", type=float, default=0.5, help="of the published curve: 0.5 or 1.0")
    parser.add_argument("--log", type=Path, help="an `evaluate` log to take the images from")
    parser.add_argument("--repeat", type=int, default=10, help="simulations of each image")
    arguments = parser.parse_args()
    images = from_log(arguments.log) if arguments.log else published(arguments.sigma)
    others, images = images.halves()
    many = images.repeated(arguments.repeat)
    base = ask(FIXED, many, Question(), np.random.default_rng(0))
    print(f"sigma {images.sigma}, {len(images.top_N)} images x {arguments.repeat}, n {N}, alpha {ALPHA}")
    targets = " | ".join(f"R >= {target}" for target in TARGETS)
    print(f"| rule | {targets} | tolerance {TOLERANCE} | ACR | abstains | cap |")
    print("|---|---|---|---|---|---|---|---|")
    for rule in rules(others):
        print(f"{row(rule, many, base)} {cap(rule)} |", flush=True)
    once = ask(FIXED, images, Question(), np.random.default_rng(0))
    print(f"{row(None, images, once)} |")


if __name__ == "__main__":
    main()
