import copy
from collections.abc import Callable
from importlib.util import find_spec
from shutil import which

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.cuda import CudaSampler, CudaVoter
from smoothcert.engines.engine import Engine, check_runnable, cpu_voter
from smoothcert.engines.hardware import has_bfloat16, has_int8, kernel_variables, platform_versions, processor
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.noise.grid import BatchStream, GridNoise, noise_table
from smoothcert.votes import VoteRange
from tests.support.rows import rows_answer_alike_in_any_order

SEED = 77
SHAPE = (3, 12, 12)
Pixels = NDArray[np.uint8]
BuildEngine = Callable[[str], Engine]
VOTES = VoteRange("estimation", 0, 1000)
REFERENCE = "cpu:eager/1-threads:float32:50"
CPU_SETUPS = [
    "cpu:eager/channels-last/1-threads:float32:64",
    "cpu:eager/channels-last/folded/2-threads:float32:64",
    "cpu:eager/channels-last/folded/1-threads:bfloat16:64",
    "cpu:openvino/channels-last/folded/2-threads:float32:64",
    "cpu:openvino/folded/1-threads:bfloat16:64",
]


@pytest.fixture
def engine(small_network: nn.Module) -> BuildEngine:
    def build(text: str) -> Engine:
        if "openvino" in text and not find_spec("openvino"):
            pytest.skip("the extra `cpu` is not installed")
        if "openvino" in text and "bfloat16" in text and not has_bfloat16():
            pytest.skip("this processor does not multiply bfloat16")
        return Engine(small_network, SHAPE, 6, EngineConfig.parse(text))

    return build


def test_the_reference_config_votes_as_a_plain_loop_does(
    engine: BuildEngine, small_network: nn.Module, image_CHW: Pixels
) -> None:
    noise = torch.empty(50 * image_CHW.size, dtype=torch.int16)
    GridNoise(noise_table(0.5), noise.numel()).draw(BatchStream(SEED, "estimation", 0), noise)
    noise_BCHW = noise.view(50, 12, 12, 3).permute(0, 3, 1, 2)
    with torch.no_grad():
        classes = small_network((torch.from_numpy(image_CHW) + noise_BCHW).float() / 255).argmax(1)
    counts = engine(REFERENCE).sampler(image_CHW, 0.5, SEED).count(VoteRange("estimation", 0, 50))
    assert counts.tolist() == torch.bincount(classes, minlength=6).tolist()
    assert np.count_nonzero(counts) > 2  # the test would not notice much otherwise


@pytest.mark.parametrize("text", CPU_SETUPS)
def test_every_config_gives_nearly_the_votes_of_plain_float32(
    text: str, engine: BuildEngine, image_CHW: Pixels
) -> None:
    # The streams depend on the batch size alone, so the reference runs at the same one.
    expected = engine("cpu:eager/1-threads:float32:64").sampler(image_CHW, 0.5, SEED).count(VOTES)
    counts = engine(text).sampler(image_CHW, 0.5, SEED).count(VOTES)
    moved = np.abs(counts - expected).sum() / 2
    assert moved <= (30 if "bfloat16" in text else 2)
    assert counts.sum() == 1000


@pytest.mark.parametrize("text", CPU_SETUPS)
def test_counts_of_a_config_repeat_and_add_up(text: str, engine: BuildEngine, image_CHW: Pixels) -> None:
    whole = engine(text).sampler(image_CHW, 0.5, SEED).count(VOTES)
    one = engine(text).sampler(image_CHW, 0.5, SEED)
    parts = [one.count(VoteRange("estimation", a, b)) for a, b in [(130, 700), (0, 130), (700, 1000)]]
    assert np.array_equal(sum(parts), whole)


def test_building_leaves_the_network_as_it_was(small_network: nn.Module) -> None:
    network = copy.deepcopy(small_network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Engine(network, SHAPE, 6, EngineConfig.parse(CPU_SETUPS[2]))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_description_says_what_decides_the_votes(engine: BuildEngine) -> None:
    description = engine(CPU_SETUPS[0]).description
    assert (description.device, description.precision, description.batch) == ("cpu", "float32", 64)
    assert {"smoothcert", "torch", "cpu"} <= set(description.versions)


@pytest.mark.parametrize(
    "text",
    ["cpu:cuda-graph/1-threads:float32:64", "cpu:eager/1-threads:float16:64", "cpu:eager/1-threads:tf32:64",
     "cuda:openvino:float32:64", "cpu:eager:float32:64", "cuda:eager/2-threads:float32:64"],
)  # fmt: skip
def test_an_impossible_config_raises_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        check_runnable(EngineConfig.parse(text))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_config_for_a_missing_device_fails_with_its_reason(engine: BuildEngine) -> None:
    with pytest.raises(InternalError, match="no CUDA device"):
        engine("cuda:eager:float32:64")


def test_a_network_that_cannot_be_traced_fails_to_fold_with_a_reason() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(images).mean((2, 3)) if images.sum() > 0 else images.mean((2, 3))

    with pytest.raises(InternalError, match="can't be traced"):
        Engine(Branching(), SHAPE, 3, EngineConfig("cpu", "eager", "float32", 8, threads=1))


@pytest.mark.skipif(not which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_engines_vote_as_their_own_networks_side_by_side(image_CHW: Pixels) -> None:
    """Compiled code is shared between engines of the same shape; the weights must not be."""
    votes = VoteRange("estimation", 0, 320)
    for seed in range(2):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(432, 6))
        counts = [
            Engine(network, SHAPE, 6, EngineConfig("cpu", backend, "float32", 32, threads=1))
            .sampler(image_CHW, 0.5, SEED)
            .count(votes)
            for backend in ("compile", "eager")
        ]
        assert np.abs(counts[0] - counts[1]).sum() <= 2


def test_the_device_path_does_the_same_arithmetic(small_network: nn.Module, image_CHW: Pixels) -> None:
    """The CUDA step, on the CPU: from the words of its buffer to counts, against the definition."""
    config = EngineConfig("cuda", "eager", "float32", 64)
    voter = CudaVoter(small_network, SHAPE, 6, config, device="cpu")
    sampler = CudaSampler(voter, image_CHW, 0.5, SEED)
    counts = sampler.count(VoteRange("estimation", 0, 64))
    noise = noise_table(0.5).integers(voter.step(0.5).words_BHWC.numpy().reshape(-1)).reshape(64, 12, 12, 3)
    pixels = torch.from_numpy(noise + image_CHW.transpose(1, 2, 0)).permute(0, 3, 1, 2)
    with torch.no_grad():
        classes = small_network(pixels.float() / 255).argmax(1)
    assert counts.tolist() == torch.bincount(classes, minlength=6).tolist()


def test_the_device_path_adds_up_and_samplers_may_take_turns(
    small_network: nn.Module, image_CHW: Pixels
) -> None:
    voter = CudaVoter(small_network, SHAPE, 6, EngineConfig("cuda", "eager", "float32", 64), device="cpu")
    whole = CudaSampler(voter, image_CHW, 0.5, SEED).count(VOTES)
    one, other = CudaSampler(voter, image_CHW, 0.5, SEED), CudaSampler(voter, 255 - image_CHW, 0.5, SEED)
    parts = []
    for start in range(0, 1000, 100):
        parts.append(one.count(VoteRange("estimation", start, start + 100)))
        other.count(VoteRange("estimation", start, start + 100))
    assert np.array_equal(sum(parts), whole)
    assert not np.array_equal(other.count(VOTES), whole)


@pytest.mark.parametrize("text", CPU_SETUPS)
def test_a_row_is_classified_alike_wherever_it_stands_in_the_batch(
    text: str, engine: BuildEngine, small_network: nn.Module
) -> None:
    engine(text)  # skips where the backend is missing
    assert rows_answer_alike_in_any_order(cpu_voter(small_network, SHAPE, 6, EngineConfig.parse(text)))


def test_processors_of_one_name_with_other_instructions_have_other_descriptions() -> None:
    zen4 = {"model name": "AMD EPYC", "cpu family": "25", "model": "17", "flags": "fma avx512f avx512_vnni"}
    assert processor(zen4) == "AMD EPYC (25/17) avx512_vnni"
    others = ({"model": "1"}, {"cpu family": "26"}, {"flags": "fma avx512f"}, {"flags": "avx512_bf16"})
    assert len({processor(zen4 | other) for other in others} | {processor(zen4)}) == 5
    assert processor({}) == "unknown"


def test_a_processor_that_onednn_may_not_use_wholly_is_another_one_and_has_no_int8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "PATH": "/bin"}
    assert kernel_variables(limited) == ["ONEDNN_MAX_CPU_ISA=AVX512_CORE"]
    assert kernel_variables({"DNNL_DEFAULT_FPMATH_MODE": "BF16"})
    assert not kernel_variables({"PATH": "/bin", "NVIDIA_TF32_OVERRIDE": "0"})
    assert kernel_variables(limited | {"NVIDIA_TF32_OVERRIDE": "0"}, "cuda") == ["NVIDIA_TF32_OVERRIDE=0"]
    assert kernel_variables(
        {"TORCHINDUCTOR_MAX_AUTOTUNE": "1", "MKL_CBWR": "AVX2", "TORCHINDUCTOR_CACHE_DIR": "x"}
    ) == [
        "MKL_CBWR=AVX2",
        "TORCHINDUCTOR_MAX_AUTOTUNE=1",
    ]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert not has_int8.__wrapped__()  # not what was found before
    assert "ONEDNN_MAX_CPU_ISA=AVX512_CORE" in platform_versions("cpu")["cpu"]
