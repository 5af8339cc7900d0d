"""Whether a training has diverged: weights that are no numbers make no classifier."""

from collections.abc import Sequence

import torch
from torch import nn

from smoothcert.errors import InvalidRequest

GREY = 0.5  # of pixels in [0,1]


def need_convergence(network: nn.Module, input_shape: Sequence[int], epoch: int, loss: float) -> None:
    """Raises InvalidRequest where weights, statistics or answers after this epoch aren't finite.

    network: as it is exported, in training mode, where it stays. input_shape: (C, H, W).
    """
    if not (_has_finite_state(network) and _answers(network, input_shape)):
        raise InvalidRequest(
            f"the training has diverged: after epoch {epoch} (loss {loss:.4g}) the network's weights or "
            "answers are not finite. Try --precision float32, another seed, smaller weights of terms."
        )


def _has_finite_state(network: nn.Module) -> bool:
    return all(bool(one.isfinite().all()) for one in network.state_dict().values())


def _answers(network: nn.Module, input_shape: Sequence[int]) -> bool:
    """Asked of the network itself: its twin that trains faster on a CPU can take a NaN for 0.

    On a GPU there is no twin, and a compiled network would be compiled once more for this.
    """
    device = next(network.parameters()).device
    if device.type != "cpu":
        return True
    with torch.no_grad():
        logits = network.eval()(torch.full((1, *input_shape), GREY))
    network.train()
    return bool(logits.isfinite().all())
