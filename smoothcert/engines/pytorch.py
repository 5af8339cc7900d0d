"""The PyTorch back end: grid pixels to classes, on the CPU eager or compiled."""

import copy

import numpy as np
import torch
import torch._dynamo
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from smoothcert.engines.config import EngineConfig, Precision
from smoothcert.errors import InternalError
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import NO_CLASS

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_MAX_COMPILED = 256  # engines compiled in one process


class Voter(nn.Module):
    """Grid pixels (B,H,W,C integers; value/255 is the pixel) to classes (B,), int64: the class of the highest
    score, NO_CLASS where a score is NaN or infinite.

    The division is the correctly rounded one of float32: the network's input is a fixed function of the
    integers.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.memory_format = memory_format
        self.register_buffer("steps", torch.tensor(255.0))
        self.steps: Tensor

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        images_BHWC = pixels_BHWC.to(torch.float32).div(self.steps).to(self.dtype)
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)
        logits_BK: Tensor = self.network(images_BCHW)
        return torch.where(logits_BK.isfinite().all(dim=1), logits_BK.argmax(dim=1), NO_CLASS)


def ready_voter(network: nn.Module, setup: EngineConfig) -> Voter:
    """A copy of the network in eval mode, folded, cast and laid out as the set-up says.

    Raises InternalError.
    """
    dtype = DTYPES[setup.precision]
    memory_format = torch.channels_last if setup.channels_last else torch.contiguous_format
    ready = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    if setup.folded:
        ready = fold_batch_norm(ready)
    ready = ready.to(dtype=dtype)
    ready = ready.to(memory_format=memory_format)
    return Voter(ready, dtype, memory_format).eval()


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Batch norm folded into the convolution before it (rounds otherwise, but fixed).

    Raises InternalError.
    """
    if not has_batch_norm(network):
        return network
    try:
        return fuse(network)
    except Exception as error:  # whatever symbolic tracing meets in a foreign network
        raise InternalError(f"This network can't be traced to fold its batch norm: {error}") from error


def has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def compile_voter(voter: nn.Module, options: dict[str, bool] | None = None) -> None:
    """Compile in place for one fixed shape; the work is done at the first call. No kernel is chosen by timing
    it: the next process might choose another, which is another base classifier.

    Every engine is a recompilation of the same forward. Beyond its limit (8) torch goes on uncompiled without
    a word, which would be another base classifier than the one named: raise the limit, and fail beyond it.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MAX_COMPILED)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    voter.compile(dynamic=False, options={"deterministic": True, **(options or {})})


class EagerVoter:
    """A BatchVoter that classifies at once, on `setup.threads` threads."""

    slots = 1

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (setup.batch, height, width, channels)
        self._threads = setup.threads
        self._run: nn.Module = ready_voter(network, setup)
        if setup.backend == "compile":
            # freezing: weights become constants, batch norm and the conversions around bf16 kernels go away.
            compile_voter(self._run, {"freezing": True})
        self._classes = np.empty(0, dtype=np.int64)
        self.start(0, torch.zeros(self.shape_BHWC, dtype=torch.int16))

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            self._classes = self._run(pixels_BHWC).numpy()

    def classes(self, slot: int) -> NDArray[np.int64]:
        return self._classes
