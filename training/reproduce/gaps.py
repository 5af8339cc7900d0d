"""The paper's Figure 1: the log-probability gap of one image under noise.

The gap of a noisy copy is log F(x + delta)_y - max_{k != y} log F(x + delta)_k, in nats; below 0 the copy is
misclassified.
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

from smoothcert.plot import PANEL, STYLE, save_figure
from training.methods.base import log_probabilities, repeat_with_noise
from training.report import markdown_table

COPIES = 10_000  # as in the paper
BATCH = 250
BINS = 80


@dataclass(frozen=True)
class Gaps:
    """The gaps of one classifier on the noisy copies of one image, in nats."""

    label: str
    gaps_N: NDArray[np.float64]

    @property
    def misclassified(self) -> float:
        """Share of the copies."""
        return float((self.gaps_N <= 0).mean())


@torch.inference_mode()
def log_probability_gaps(network: nn.Module, image_u8: Tensor, label: int, sigma: float) -> Tensor:
    """The gaps of COPIES noisy copies: (COPIES,), float64, in nats.

    image_u8: uint8 (C, H, W). sigma: pixels in [0,1]. The noise has a fixed seed.
    """
    generator = torch.Generator().manual_seed(0)
    images_BCHW = image_u8[None].float() / 255
    gaps = []
    for _ in range(COPIES // BATCH):
        noisy_NCHW = repeat_with_noise(images_BCHW, BATCH, sigma, generator)
        log_probs_NK = log_probabilities(network, noisy_NCHW, BATCH)[:, 0].double()
        right_N = log_probs_NK[:, label].clone()
        log_probs_NK[:, label] = -torch.inf
        gaps.append(right_N - log_probs_NK.amax(1))
    return torch.cat(gaps)


def gaps_table(measured: Sequence[Gaps]) -> str:
    """Mean, standard deviation and share misclassified of each classifier, as Markdown."""
    rows = [
        [
            gaps.label,
            f"{gaps.gaps_N.mean():z.2f}",
            f"{gaps.gaps_N.std():.2f}",
            f"{100 * gaps.misclassified:.2f}",
        ]
        for gaps in measured
    ]
    return markdown_table(["", "mean gap", "standard deviation", "misread, %"], rows) + "\n"


def save_histograms(measured: Sequence[Gaps], path: Path) -> None:
    """A panel for each classifier beside the last one, all with the same bins. Raises InvalidRequest."""
    *others, last = measured
    pairs: list[tuple[Gaps, ...]] = [(other, last) for other in others] or [(last,)]
    edges = np.histogram_bin_edges(np.concatenate([gaps.gaps_N for gaps in measured]), BINS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * len(pairs), PANEL[1]), layout="constrained")
        for axes, pair in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            for gaps in pair:
                axes.hist(gaps.gaps_N, bins=list(edges), density=True, alpha=0.5, label=gaps.label)
            axes.set(xlabel="Log-probability gap under noise", ylabel="Density")
            axes.legend()
        save_figure(figure, path)
