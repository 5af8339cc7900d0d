"""Several processes train one network, started by torchrun: each computes its share of every step.

Every rank draws the same images and noise and evaluates the whole loss, but sends only its rows through the
network; the logits are put together. So the loss, whatever the method, is the one that a single process with
the same batch sees, attacks included. DistributedDataParallel would average losses of parts instead, and
counts the attacks' passes as steps. Batch norm sees a rank's rows, as it would there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

Rows = tuple[int, int]  # first and end of a rank's share


@contextmanager
def together() -> Iterator[torch.device]:
    """Join the other processes, if torchrun started several; yields this one's device."""
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


def is_shared() -> bool:
    """Whether other processes train with this one."""
    return dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process writes the files and speaks: the only one, or rank 0."""
    return not is_shared() or dist.get_rank() == 0


def agreed(value: float, device: torch.device) -> float:
    """The first process' value, in all of them."""
    if not is_shared():
        return value
    told = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(told, src=0)
    return told.item()


class Shared(nn.Module):
    """A network of which this rank computes its rows; the answer holds all ranks' rows."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        rows = rows_of(len(images_NCHW), dist.get_rank(), dist.get_world_size())
        logits = self.network(_Own.apply(images_NCHW, rows))
        whole: Tensor = _Whole.apply(logits, rows, len(images_NCHW))
        return whole


def share(network: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The network as all ranks compute it together; before each update they add up their gradients."""
    for value in network.state_dict().values():
        dist.broadcast(value, src=0)
    optimizer.register_step_pre_hook(lambda *_: _agree(network))
    return Shared(network)


@dataclass
class _Part:
    """What a backward pass must know of its forward pass."""

    rows: Rows
    total: int


class _Own(torch.autograd.Function):
    """This rank's rows. Backward: every rank's gradient of its own rows, put together."""

    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, rows: Rows) -> Tensor:
        ctx.part = _Part(rows, len(images_NCHW))
        return images_NCHW[slice(*rows)].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _assembled(gradients[0], ctx.part), None


class _Whole(torch.autograd.Function):
    """All ranks' rows. Backward: the gradient of this rank's own, which each rank computes alike."""

    @staticmethod
    def forward(ctx: Any, logits_nK: Tensor, rows: Rows, total: int) -> Tensor:
        ctx.part = _Part(rows, total)
        return _assembled(logits_nK.to(torch.promote_types(logits_nK.dtype, torch.float32)), ctx.part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][slice(*ctx.part.rows)], None, None


def rows_of(total: int, rank: int, ranks: int) -> Rows:
    """Shares differ by one row at most. A rank beyond the last row gets none of its own."""
    return total * rank // ranks, total * (rank + 1) // ranks


def _assembled(own: Tensor, part: _Part) -> Tensor:
    whole = own.new_zeros((part.total, *own.shape[1:]))
    whole[slice(*part.rows)] = own
    dist.all_reduce(whole)
    return whole


def _agree(network: nn.Module) -> None:
    """Add up gradients, and average batch norm's running statistics, each in one message."""
    _reduce([p.grad for p in network.parameters() if p.grad is not None], ranks=1)
    _reduce([b for b in network.buffers() if b.is_floating_point()], ranks=dist.get_world_size())


@torch.no_grad()
def _reduce(tensors: list[Tensor], ranks: int) -> None:
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_((part / ranks).view_as(tensor))
