"""From grid pixels to classes: the module every set-up runs, and how a network is readied for it."""

import copy

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from smoothcert.engines.config import EngineConfig, Precision
from smoothcert.errors import InternalError
from smoothcert.votes import NO_CLASS

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


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
