"""Every vote source under any sequence of ranges: each count is that of one pass over the votes."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from shutil import which

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.attack.pgd import RealSampler, real_voter
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.cuda import CudaSampler, CudaVoter
from smoothcert.engines.engine import Engine, cpu_voter
from smoothcert.engines.hardware import has_bfloat16
from smoothcert.errors import InternalError
from smoothcert.noise.grid import BatchStream, GridNoise, noise_table
from smoothcert.noise.sampler import BatchVoter, Sampler
from smoothcert.votes import NO_CLASS, Counts, Stage, VoteRange, VoteSource

SIGMA, SEED, CLASSES, BATCH, VOTES = 0.5, 7, 4, 16, 200
SHAPE = (1, 6, 6)
IMAGE = np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)
STAGES: tuple[Stage, ...] = ("selection", "estimation")
Classes = dict[Stage, NDArray[np.int64]]


def network() -> nn.Module:
    """Answers with any of its classes, and with none to one input in five."""
    torch.manual_seed(0)
    linear = nn.Linear(36, CLASSES)
    with torch.no_grad():
        linear.weight.sub_(linear.weight.mean(1, keepdim=True))  # so that noise decides, not brightness
        linear.bias.zero_()
    return nn.Sequential(nn.Flatten(), linear, SometimesNaN())


class SometimesNaN(nn.Module):
    def forward(self, scores_BK: Tensor) -> Tensor:
        return scores_BK + 0 * torch.log(scores_BK[:, :1] + 0.35)


class Delayed:
    """Any number of slots over one voter: a batch is classified only when its classes are asked for."""

    def __init__(self, voter: BatchVoter, slots: int) -> None:
        self.num_classes, self.shape_BHWC, self.slots = voter.num_classes, voter.shape_BHWC, slots
        self._voter = voter
        self._waiting: dict[int, Tensor] = {}

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        self._waiting[slot] = pixels_BHWC  # not copied: the sampler must leave it alone until it is read

    def classes(self, slot: int) -> NDArray[np.int64]:
        self._voter.start(0, self._waiting[slot])
        return self._voter.classes(0)


def cpu(text: str) -> VoteSource:
    return Sampler(cpu_voter(network(), SHAPE, CLASSES, EngineConfig.parse(text)), IMAGE, SIGMA, SEED)


def delayed(slots: int) -> VoteSource:
    voter = cpu_voter(network(), SHAPE, CLASSES, EngineConfig.parse("cpu:eager/1-threads:float32:16"))
    return Sampler(Delayed(voter, slots), IMAGE, SIGMA, SEED)


def real() -> VoteSource:
    voter = real_voter(network(), SHAPE, CLASSES, EngineConfig.parse("cpu:eager/1-threads:float32:16"))
    return RealSampler(Delayed(voter, 3), IMAGE / 255.0, SIGMA, SEED)


def cuda(backend: str, device: str) -> VoteSource:
    config = EngineConfig.parse(f"cuda:{backend}:float32:16")
    return CudaSampler(CudaVoter(network(), SHAPE, CLASSES, config, device), IMAGE, SIGMA, SEED)


no_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="the extra `cpu` is not installed")
no_compiler = pytest.mark.skipif(not which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
no_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply bfloat16")
SOURCES: dict[str, tuple[Callable[[], VoteSource], tuple[pytest.MarkDecorator, ...]]] = {
    "eager": (lambda: cpu("cpu:eager/1-threads:float32:16"), ()),
    "compiled": (lambda: cpu("cpu:compile/1-threads:float32:16"), (no_compiler,)),
    **{
        f"openvino-{threads + 1}-slots": (
            lambda threads=threads: cpu(f"cpu:openvino/{threads}-threads:float32:16"),  # type: ignore[misc]
            (no_openvino,),
        )
        for threads in (1, 2, 3, 4)
    },
    "openvino-bfloat16": (lambda: cpu("cpu:openvino/2-threads:bfloat16:16"), (no_openvino, no_bfloat16)),
    **{f"{slots}-slots": (lambda slots=slots: delayed(slots), ()) for slots in range(1, 6)},  # type: ignore[misc]
    "real-inputs": (real, ()),
    "cuda-arithmetic": (lambda: cuda("eager", "cpu"), ()),
    "cuda-graph": (lambda: cuda("cuda-graph", "cuda"), (pytest.mark.gpu,)),
}


@cache
def source_named(name: str) -> VoteSource:
    """One instance a source: what earlier examples left in it is part of the test."""
    return SOURCES[name][0]()


@cache
def classes_of(name: str) -> Classes:
    """The class of each vote, from a source of its own that is asked for one vote at a time, in order."""
    source = SOURCES[name][0]()
    return {
        stage: np.array([_class(source.count(VoteRange(stage, i, i + 1))) for i in range(VOTES)])
        for stage in STAGES
    }


def _class(counts_K: Counts) -> int:
    assert counts_K.sum() in (0, 1)
    return int(counts_K.argmax()) if counts_K.any() else NO_CLASS


def expected(classes: Classes, votes: VoteRange) -> list[int]:
    answered = classes[votes.stage][votes.start : votes.stop]
    return [int((answered == k).sum()) for k in range(CLASSES)]


@st.composite
def ranges(draw: st.DrawFn) -> VoteRange:
    """Any range: one vote, whole batches, everything, or in between."""
    start = draw(st.integers(0, VOTES - 1) | st.integers(0, VOTES // BATCH - 1).map(lambda i: i * BATCH))
    length = draw(st.sampled_from([1, BATCH, 3 * BATCH, VOTES]) | st.integers(0, VOTES))
    return VoteRange(draw(st.sampled_from(STAGES)), start, min(start + length, VOTES))


EVERY = [pytest.param(name, marks=marks) for name, (_, marks) in SOURCES.items()]


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ranges(), min_size=2, max_size=6))
def test_counts_are_those_of_one_pass_whatever_was_asked_before(name: str, asked: list[VoteRange]) -> None:
    source = source_named(name)
    for votes in asked:
        assert source.count(votes).tolist() == expected(classes_of(name), votes), asked


@pytest.mark.parametrize("name", EVERY)
def test_inputs_with_scores_that_are_not_finite_are_counted_for_no_class(name: str) -> None:
    classes = classes_of(name)["estimation"]
    assert 10 < (classes == NO_CLASS).sum() < VOTES / 2
    assert set(classes.tolist()) == {NO_CLASS, *range(CLASSES)}


def test_votes_are_the_classes_of_image_plus_noise() -> None:
    """The table above, against the definition: batch i of a stage, row by row."""
    count = -(-VOTES // BATCH)
    pixels = torch.empty(count, BATCH, 36, dtype=torch.int16)
    for i in range(count):
        stream = BatchStream(SEED, "estimation", i)
        GridNoise(noise_table(SIGMA), BATCH * 36).draw(stream, pixels[i].view(-1))
    images = (pixels.view(-1, 1, 6, 6) + torch.from_numpy(IMAGE)).float() / 255
    scores = network()(images).detach()
    classes = torch.where(scores.isfinite().all(1), scores.argmax(1), NO_CLASS)
    assert classes[:VOTES].tolist() == classes_of("eager")["estimation"].tolist()


@pytest.mark.parametrize("name", EVERY)
def test_every_source_gives_the_votes_of_the_plain_network(name: str) -> None:
    if name in ("real-inputs", "cuda-graph", "cuda-arithmetic"):
        pytest.skip("draws its noise from another stream")
    differ = classes_of(name)["estimation"] != classes_of("eager")["estimation"]
    assert differ.mean() <= (0.05 if "bfloat16" in name else 0.01)


class TracedAway(nn.Module):
    """Another answer for bright images than for dark ones, by a branch that tracing can't see."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images_BCHW: Tensor) -> Tensor:
        scores_BK: Tensor = self.body(images_BCHW)
        return scores_BK.roll(1, dims=1) if images_BCHW.sum() > 0 else scores_BK


@no_openvino
def test_a_set_up_that_answers_otherwise_than_the_network_is_not_taken() -> None:
    branching = TracedAway(network())
    with pytest.raises(InternalError, match="and the plain network differ"):
        Engine(branching, SHAPE, CLASSES, EngineConfig.parse("cpu:openvino/1-threads:float32:16"))
    Engine(branching, SHAPE, CLASSES, EngineConfig.parse("cpu:eager/1-threads:float32:16"))


@pytest.mark.parametrize("claimed", [CLASSES - 1, CLASSES + 1, 1000])
def test_another_number_of_classes_than_the_network_has_is_refused(claimed: int) -> None:
    with pytest.raises(InternalError, match=rf"not of {claimed} classes"):
        Engine(network(), SHAPE, claimed, EngineConfig.parse("cpu:eager/1-threads:float32:16"))


class Swapped(nn.Module):
    """Answers for the neighbour in the batch."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images_BCHW: Tensor) -> Tensor:
        scores_BK: Tensor = self.body(images_BCHW)
        return scores_BK.roll(1, dims=0) if len(images_BCHW) == BATCH else scores_BK


def test_a_network_that_answers_for_a_neighbour_in_the_batch_is_not_taken() -> None:
    with pytest.raises(InternalError, match="the plain network differ"):
        Engine(Swapped(network()), SHAPE, CLASSES, EngineConfig.parse("cpu:eager/1-threads:float32:16"))
