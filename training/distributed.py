"""Training one network in several processes, started by torchrun.

Every rank draws the same images and noise and computes the whole loss, but only its share of the rows goes
through its copy of the network; the logits are gathered. The loss is therefore that of a single process with
the same batch, for every method and attack. (DistributedDataParallel averages the losses of parts, and counts
an attack's passes as steps.) Batch norm sees one rank's rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

Rows = tuple[int, int]  # first row and end of a rank's share


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the process group if torchrun started this process; yields this process's device."""
    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched():
        yield torch.device("cuda" if cuda else "cpu")
        return
    device = torch.device("cuda", dist.get_node_local_rank()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_initialized() and dist.get_world_size() > 1


def is_main_process() -> bool:
    """Whether this process writes files and messages: rank 0, or the only process."""
    return not is_distributed() or dist.get_rank() == 0


def from_main_process(value: float, device: torch.device) -> float:
    """Rank 0's value, in every process."""
    if not is_distributed():
        return value
    broadcast = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(broadcast, src=0)
    return broadcast.item()


class SplitNetwork(nn.Module):
    """A network that computes this rank's rows and returns the logits of all ranks' rows."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        rows = rows_of_rank(len(images_NCHW), dist.get_rank(), dist.get_world_size())
        logits_nK = self.network(_SelectRows.apply(images_NCHW, rows))
        logits_NK: Tensor = _GatherRows.apply(logits_nK, rows, len(images_NCHW))
        return logits_NK


def split_over_processes(network: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The network with rank 0's weights, split over the ranks. Gradients are summed before each update."""
    for value in network.state_dict().values():
        dist.broadcast(value, src=0)
    optimizer.register_step_pre_hook(lambda *_: _synchronize(network))
    return SplitNetwork(network)


@dataclass
class _Share:
    """What the backward passes need of the forward pass: this rank's rows of `total`."""

    rows: Rows
    total: int


class _SelectRows(torch.autograd.Function):
    """This rank's rows. Backward: the gradients of all ranks' rows, gathered."""

    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, rows: Rows) -> Tensor:
        ctx.share = _Share(rows, len(images_NCHW))
        return images_NCHW[slice(*rows)].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _gather(gradients[0], ctx.share), None


class _GatherRows(torch.autograd.Function):
    """All ranks' rows. Backward: the gradient of this rank's rows; every rank computes the same loss."""

    @staticmethod
    def forward(ctx: Any, logits_nK: Tensor, rows: Rows, total: int) -> Tensor:
        ctx.share = _Share(rows, total)
        return _gather(logits_nK.to(torch.promote_types(logits_nK.dtype, torch.float32)), ctx.share)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][slice(*ctx.share.rows)], None, None


def rows_of_rank(total: int, rank: int, ranks: int) -> Rows:
    """Shares differ by at most one row; with fewer rows than ranks some are empty."""
    return total * rank // ranks, total * (rank + 1) // ranks


def _gather(own_rows: Tensor, share: _Share) -> Tensor:
    all_rows = own_rows.new_zeros((share.total, *own_rows.shape[1:]))
    all_rows[slice(*share.rows)] = own_rows
    dist.all_reduce(all_rows)
    return all_rows


def _synchronize(network: nn.Module) -> None:
    """Sum the gradients, and average batch norm's running statistics, in one message each."""
    _all_reduce([p.grad for p in network.parameters() if p.grad is not None], divisor=1)
    _all_reduce([b for b in network.buffers() if b.is_floating_point()], divisor=dist.get_world_size())


@torch.no_grad()
def _all_reduce(tensors: list[Tensor], divisor: int) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, values in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_((values / divisor).view_as(tensor))
