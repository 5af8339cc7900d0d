"""Class probabilities under several noises, kept as logarithms so that nothing overflows or takes log 0.

Legend: m noises, B images, K classes. `F_i` is the softmax at noise i, `F_hat` the mean of the m softmaxes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def log_probabilities(network: nn.Module, inputs_NCHW: Tensor, num_noises: int) -> Tensor:
    """log F_i(x) of m*B inputs (copies of noise i contiguous), shape (m, B, K), in float32 or better."""
    logits_NK = network(inputs_NCHW)
    wide_NK = logits_NK.to(torch.promote_types(logits_NK.dtype, torch.float32))
    return functional.log_softmax(wide_NK.unflatten(0, (num_noises, -1)), dim=-1)


def log_mean(log_probs_mBK: Tensor) -> Tensor:
    """log F_hat, shape (B, K)."""
    return torch.logsumexp(log_probs_mBK, dim=0) - math.log(len(log_probs_mBK))


def mean_cross_entropy(log_probs_mBK: Tensor, labels_B: Tensor) -> Tensor:
    """Mean over noises and images of CE(F_i, y), a scalar."""
    labels_mB = labels_B.expand(len(log_probs_mBK), -1)
    return functional.nll_loss(log_probs_mBK.flatten(0, 1), labels_mB.flatten())


def cross_entropy(log_target: Tensor, log_probs: Tensor) -> Tensor:
    """CE(target, F) = -sum_k target_k log F_k over the last axis, K; gradients flow through both.

    Both have shape (..., K), the result has (...).
    """
    return -(log_target.exp() * log_probs).sum(-1)


def entropy(log_probs: Tensor) -> Tensor:
    """H(F) = CE(F, F) over the last axis."""
    return cross_entropy(log_probs, log_probs)
