"""PyTorch on CUDA: noise, network and counting run on the device; the host waits once per range."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.pytorch import compile_voter, ready_voter
from smoothcert.noise.grid import NoiseTable, device_key, noise_table
from smoothcert.noise.normal import slack
from smoothcert.noise.sampler import Batch, batches
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import NO_CLASS, Counts, Stage, VoteRange

_WARM_UP_RUNS = 3  # before graph capture: libraries choose kernels and allocate in the first runs


@contextmanager
def fixed_kernels(tf32: bool) -> Iterator[None]:
    """Choose kernels by shape only, never by timing, and TF32 only if `tf32`."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class CudaStep:
    """Random words to classes for one batch, on static buffers so that a CUDA graph can replay it.

    words_BHWC: 63 random bits per pixel. base_HWC: the image plus the lowest noise of the table. classes_B:
    the result. last: (sampler, stage, batch) whose result `classes_B` holds.
    """

    def __init__(
        self, voter: nn.Module, table: NoiseTable, shape_CHW: Shape, config: EngineConfig, device: str
    ) -> None:
        channels, height, width = shape_CHW
        self.words_BHWC = torch.zeros(config.batch, height, width, channels, dtype=torch.int64, device=device)
        self.base_HWC = torch.zeros(height, width, channels, dtype=torch.int32, device=device)
        self.classes_B = torch.zeros(config.batch, dtype=torch.int64, device=device)
        self.last: tuple[object, Stage, int] | None = None
        self._thresholds_T = torch.from_numpy(table.thresholds_T.copy()).to(device)
        self._voter = voter
        self._tf32 = config.precision == "tf32"
        self._graph = self._captured() if config.backend.endswith("cuda-graph") else None

    def run(self) -> None:
        """Classify the batch in `words_BHWC`, without waiting for the device."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._eager()

    def _eager(self) -> None:
        with torch.no_grad(), fixed_kernels(self._tf32):
            # Binary search: exact, and the same work for every pixel.
            below = torch.bucketize(self.words_BHWC, self._thresholds_T, right=True, out_int32=True)
            self.classes_B.copy_(self._voter(below + self.base_HWC))

    def _captured(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                self._eager()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._eager()
        return graph


class CudaVoter:
    """One network on the GPU. Steps are built once per sigma. device `cpu` is for tests."""

    def __init__(
        self,
        network: nn.Module,
        shape_CHW: Shape,
        num_classes: int,
        config: EngineConfig,
        device: str = "cuda",
    ) -> None:
        self.shape_CHW = shape_CHW
        self.num_classes = num_classes
        self.config = config
        self.device = device
        self._run: nn.Module = ready_voter(network, config).to(device)
        if config.backend.startswith("compile"):
            # Default mode, as the others choose kernels by timing.
            compile_voter(self._run)
        self.step = lru_cache(maxsize=2)(self._build_step)

    @property
    def shape_BHWC(self) -> tuple[int, int, int, int]:  # noqa: N802
        channels, height, width = self.shape_CHW
        return self.config.batch, height, width, channels

    def classify(self, batches: list[Tensor]) -> list[NDArray[np.int64]]:
        """Classes of given pixel batches (int16, shape_BHWC; values within reach of noise at sigma 0.5)."""
        table = noise_table(0.5)
        step, thresholds_T = self._build_step(table.sigma), torch.from_numpy(table.thresholds_T.copy())
        step.base_HWC.fill_(table.lowest)
        answers = []
        for pixels_BHWC in batches:
            step.words_BHWC.copy_(thresholds_T[pixels_BHWC.long() - table.lowest - 1])
            step.run()
            answers.append(step.classes_B.cpu().numpy().copy())
        return answers

    def _build_step(self, sigma: float) -> CudaStep:
        return CudaStep(self._run, noise_table(sigma), self.shape_CHW, self.config, self.device)


class CudaSampler:
    """The VoteSource of one image, noise level and seed on the GPU.

    image_CHW: uint8. sigma: pixels in [0,1]. seed: 128 bits. Samplers of one voter share its buffers, so only
    one may count at a time.
    """

    def __init__(self, voter: CudaVoter, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> None:
        assert image_CHW.dtype == np.uint8
        assert image_CHW.shape == voter.shape_CHW
        self.num_classes = voter.num_classes
        self.slack = slack(sigma, image_CHW.size)
        self.at_once = voter.config.batch  # votes under way at the same time
        self._step = voter.step(sigma)
        self._seed = seed
        self._size = voter.config.batch
        base_HWC = image_CHW.transpose(1, 2, 0).astype(np.int32) + noise_table(sigma).lowest
        self._base_HWC = torch.from_numpy(np.ascontiguousarray(base_HWC)).to(voter.device)
        self._ones_B = torch.ones(self._size, dtype=torch.int64, device=voter.device)
        self._generator = torch.Generator(device=voter.device)

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        """Votes per class, shape (K,), int64. Additive over ranges; the same for the same seed.

        until: of no effect; the samplers of one voter share its buffers.
        """
        counts = torch.zeros(self.num_classes + 1, dtype=torch.int64, device=self._ones_B.device)
        self._step.base_HWC.copy_(self._base_HWC)
        for batch in batches(votes, self._size):
            self._evaluate(batch, votes.stage)
            counted = slice(batch.first, batch.last)
            # Integer sums are exact in any order. torch.bincount would wait for the device.
            counts.scatter_add_(0, self._step.classes_B[counted] - NO_CLASS, self._ones_B[counted])
        counts_K: Counts = counts[1:].cpu().numpy()  # the first is NO_CLASS
        return counts_K

    def _evaluate(self, batch: Batch, stage: Stage) -> None:
        key = (self, stage, batch.index)
        if self._step.last == key:  # the range continues inside an evaluated batch
            return
        self._step.last = None  # in case the run fails
        self._generator.manual_seed(device_key(self._seed, stage, batch.index))
        # random_ without bounds gives 63 random bits; the sign bit is zero.
        self._step.words_BHWC.random_(generator=self._generator)
        self._step.run()
        self._step.last = key
