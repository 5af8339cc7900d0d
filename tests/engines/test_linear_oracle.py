"""The whole path where the answer is known: a linear network, real noise, the real engine."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification

SHAPE = (1, 4, 6)
SIGMA, ALPHA, N = 0.25, 0.05, 400
RUNS = 600


def linear_network(weights: NDArray[np.float64], image: NDArray[np.uint8], margin: float) -> nn.Module:
    """Two logits: class 1 where w.z + b > 0, with w.x + b = margin at this image."""
    layer = nn.Linear(weights.size, 2)
    bias = margin - weights @ (image.reshape(-1) / 255)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.stack([-weights, weights]) / 2))
        layer.bias.copy_(torch.tensor([-bias / 2, bias / 2]))
    return nn.Sequential(nn.Flatten(), layer)


def certified(network: nn.Module, image: NDArray[np.uint8], seed: int) -> tuple[int | None, float]:
    source = Engine(network, SHAPE, 2, EngineConfig("cpu", "eager", "float32", 200, threads=1)).sampler(
        image, SIGMA, seed
    )
    asked = Parameters(procedure="certify", n0=20, n=N, alpha=ALPHA, sigma=SIGMA)
    certification = Certification(asked, 2, slack=source.slack)
    while (votes := certification.request(most=150)) is not None:  # ranges that don't fit the batch
        certification.add(votes, source.count(votes))
    return certification.result.predicted_class, certification.result.radius


def test_a_linear_network_is_certified_beyond_its_margin_at_most_as_often_as_alpha_allows() -> None:
    rng = np.random.default_rng(11)
    wrong, shares = 0, []
    for seed in range(RUNS):
        image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        weights = rng.normal(size=image.size)
        true_radius = SIGMA * rng.uniform(0.1, 2.0)
        network = linear_network(weights, image, true_radius * float(np.linalg.norm(weights)))
        predicted, radius = certified(network, image, seed)
        wrong += radius > (true_radius if predicted == 1 else 0.0)
        shares.append(radius / true_radius)
    # With a true rate of alpha this fails once in 10 000 seeds; the seeds are fixed.
    assert stats.binomtest(wrong, RUNS, ALPHA, alternative="greater").pvalue > 1e-4
    assert wrong > 0.25 * ALPHA * RUNS  # a bound that is never wrong at alpha = 5 % would not be tight
    assert np.median(shares) > 0.7
