"""What the service adds: post to certificate over HTTP, minus the engine's own time for the same votes.

    python benchmarks/overhead.py

Engine and service take turns in one run, with one set-up. The engine's time is a certification in this
process: the sampler made, all votes drawn and counted, the procedure asked; the network is loaded before.
The anytime procedure draws all n votes unless told otherwise. Prints Markdown.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from pathlib import Path

from light_http import Connection, get, post
from stack import stack

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.images.decode import read_image
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL, ModelRegistry
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, drive

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
IMAGES = {"L": DATA / "digit-7.png", "RGB": DATA / "folder-tiny/val/tench/tench-0.jpg"}  # by the model's mode
CHUNK = 8192  # votes the engine is asked for at a time


async def serve(port: int, card: ModelCard, n: int) -> tuple[float, dict[str, object]]:
    """Seconds from the first byte of the post to the certificate, and the certificate."""
    async with Connection("127.0.0.1", port) as service:
        start = time.perf_counter()
        job = (
            await service.ask(post("/certify", {"model": card.name, "n": str(n)}, [image_for(card)]))
        ).json()
        while job["status"] in ("queued", "running"):
            job = (await service.ask(get(job["links"]["self"] + "?wait=30"))).json()
        assert job["status"] == "succeeded", job
        return time.perf_counter() - start, job["certificate"]


def image_for(card: ModelCard) -> bytes:
    """A real image of the mode that the model takes."""
    return IMAGES[card.preprocessing.mode].read_bytes()


def registry() -> ModelRegistry:
    """The models that `smoothcert up` serves."""
    return ModelRegistry(Path(os.environ.get("SMOOTHCERT_MODELS", BUNDLED)))


class Bare:
    """The engine alone, as the worker chose it."""

    def __init__(self, card: ModelCard, description: EngineDescription) -> None:
        network = load_network(registry().folder(card.name), card)
        self.card = card
        self.engine = Engine(network, card.input_shape, len(card.labels), EngineConfig.of(description))

    def certify(self, n: int) -> float:
        """Seconds for all votes of one certificate."""
        start = time.perf_counter()
        asked = Parameters(n=n, sigma=self.card.sigma)
        image = read_image(image_for(self.card), self.card)
        source = self.engine.sampler(image.to_array(), asked.sigma, seed=time.perf_counter_ns())
        certification = Certification(asked, source.num_classes, slack=source.slack)
        for _ in drive(certification, source, CHUNK):
            pass
        assert certification.result.n == n
        return time.perf_counter() - start


def measure(port: int, model: str, votes: list[int], repeats: int) -> None:
    """Service and engine in turns, for each number of votes."""
    card = registry().card(model)
    _, certificate = asyncio.run(serve(port, card, min(votes)))
    bare = Bare(card, EngineDescription.model_validate_json(json.dumps(certificate["engine"])))
    bare.certify(min(votes))
    print(f"\n{model}, {certificate['engine']}\n")
    print("| n | over HTTP, ms | engine, ms | added, ms: median | least, most | share | votes/s served |")
    print("|---|---|---|---|---|---|---|")
    for n in votes:
        rounds = [(asyncio.run(serve(port, card, n))[0], bare.certify(n)) for _ in range(repeats)]
        served, alone = (statistics.median(column) for column in zip(*rounds, strict=True))
        added = sorted(1000 * (one - other) for one, other in rounds)
        middle = statistics.median(added)
        extremes, percent = f"{added[0]:.0f}, {added[-1]:.0f}", middle / (10 * alone)
        cells = (
            n,
            f"{1000 * served:.0f}",
            f"{1000 * alone:.0f}",
            f"{middle:.0f}",
            extremes,
            f"{percent:.1f} %",
            f"{n / served:,.0f} of {n / alone:,.0f}: {100 * alone / served:.1f} %",
        )
        print(f"| {' | '.join(map(str, cells))} |")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default=DEFAULT_MODEL)
    options.add_argument("--votes", default="1000,100000")
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--port", type=int, default=8125)
    chosen = options.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with stack(chosen.port, nice=0, default_model=chosen.model):
        measure(chosen.port, chosen.model, [int(n) for n in chosen.votes.split(",")], chosen.repeats)


if __name__ == "__main__":
    main()
