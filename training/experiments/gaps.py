"""The paper's Figure 1: how far ahead the right class is, from noise to noise, for one image.

The gap of a noisy copy is log F(x + delta)_y - max_{k != y} log F(x + delta)_k: below 0 it is misread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from training.methods.base import repeat_with_noise
from training.methods.probabilities import log_probabilities
from training.plot import PANEL, STYLE, save_figure

COPIES = 4096
BATCH = 256
BINS = 80


@dataclass(frozen=True)
class Gaps:
    """The gaps of one classifier on the noisy copies of one image, in nats."""

    label: str
    gaps_N: NDArray[np.float64]

    @property
    def misread(self) -> float:
        """Share of the copies that are classified wrong."""
        return float((self.gaps_N <= 0).mean())


@torch.inference_mode()
def log_probability_gaps(network: nn.Module, image_u8: Tensor, label: int, sigma: float) -> Tensor:
    """The gaps of COPIES noisy copies of one image, uint8 (C, H, W): shape (COPIES,), float64, in nats.

    sigma: pixels in [0,1]. The noises are always the same.
    """
    generator = torch.Generator().manual_seed(0)
    images_BCHW = image_u8[None].float() / 255
    parts = []
    for _ in range(COPIES // BATCH):
        noisy = repeat_with_noise(images_BCHW, BATCH, sigma, generator)
        log_probs_BK = log_probabilities(network, noisy, BATCH)[:, 0].double()
        right = log_probs_BK[:, label].clone()
        log_probs_BK[:, label] = -torch.inf
        parts.append(right - log_probs_BK.amax(1))
    return torch.cat(parts)


def gaps_table(measured: Sequence[Gaps]) -> str:
    """Mean, spread and share misread of each classifier, as Markdown."""
    lines = ["| | mean gap | standard deviation | misread, % |", "|---|---:|---:|---:|"]
    for one in measured:
        mean, spread = one.gaps_N.mean(), one.gaps_N.std()
        lines.append(f"| {one.label} | {mean:z.2f} | {spread:.2f} | {100 * one.misread:.2f} |")
    return "\n".join(lines) + "\n"


def save_histograms(measured: Sequence[Gaps], path: Path) -> None:
    """All classifiers in one panel, over the same bins."""
    edges = np.histogram_bin_edges(np.concatenate([one.gaps_N for one in measured]), BINS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        axes = figure.subplots()
        for one in measured:
            axes.hist(one.gaps_N, bins=list(edges), density=True, alpha=0.5, label=one.label)
        axes.set(xlabel="Log-probability gap under noise", ylabel="Density")
        axes.legend()
        save_figure(figure, path)
