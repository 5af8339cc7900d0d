"""Checks, before the first vote, that an engine answers like the plain network.

Tracing, folding, casting and compiling may change answers by more than rounding: data-dependent control flow
is lost in tracing, or a kernel is wrong on some processor. Such an engine is rejected.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import EngineConfig, Precision
from smoothcert.errors import InternalError
from smoothcert.noise.sampler import BatchVoter
from smoothcert.votes import NO_CLASS

Classify = Callable[[list[Tensor]], list[NDArray[np.int64]]]  # batches of pixels_BHWC to classes_B each

_ROWS = 8  # of a batch, compared with the plain network
_BLOCK = 4  # pixels: side of the blocks of one random colour that make up an image
_STEPS = 255 * 0.25  # standard deviation of the noise, in pixel steps: sigma = 0.25
# How far the plain score of the engine's class may lie below the best score, as a share of the spread of all
# scores.
# At least five times what bundled models and random networks show.
_ROUNDING: dict[Precision, float] = {
    "float32": 0.001,
    "tf32": 0.05,
    "bfloat16": 0.1,
    "float16": 0.05,
    "int8": 0.2,
}


def in_turns(voter: BatchVoter) -> Classify:
    """A function that classifies batches with a voter, using all its slots."""

    def classify(batches: list[Tensor]) -> list[NDArray[np.int64]]:
        answers: list[NDArray[np.int64]] = []
        for first in range(0, len(batches), voter.slots):
            together = batches[first : first + voter.slots]
            for slot, pixels_BHWC in enumerate(together):
                voter.start(slot, pixels_BHWC)
            answers += [voter.classes(slot) for slot in range(len(together))]
        return answers

    return classify


def check_agreement(
    network: nn.Module,
    classify: Classify,
    shape_BHWC: tuple[int, int, int, int],
    num_classes: int,
    setup: EngineConfig,
) -> None:
    """Compare answers to noisy pixels, in two orders of the batch, with those of `network` in float32.

    Raises InternalError: an answer differs by more than rounding, or the number of classes is wrong.
    """
    pixels_BHWC = _noisy_pixels(shape_BHWC)
    scores_RK = _plain_scores(network, pixels_BHWC[:_ROWS])
    if scores_RK.shape[1:] != (num_classes,):
        raise InternalError(
            f"The network gives scores of shape {tuple(scores_RK.shape)}, not of {num_classes} classes."
        )
    forward, backward = classify([pixels_BHWC, pixels_BHWC.flip(0)])
    for classes_B in (forward, backward[::-1]):
        wrong = _unexplained(scores_RK, classes_B[:_ROWS], _ROUNDING[setup.precision])
        if wrong:
            raise InternalError(
                f"{setup} and the plain network differ on {wrong} of {len(scores_RK)} noisy "
                "images, so it can't be used for this network here."
            )


def _noisy_pixels(shape_BHWC: tuple[int, int, int, int]) -> Tensor:
    """Images of coarse random blocks, on which classifiers give different answers, plus noise; int16."""
    rng = np.random.default_rng(0)
    size, height, width, channels = shape_BHWC
    coarse = rng.integers(0, 256, (size, -(-height // _BLOCK), -(-width // _BLOCK), channels))
    images_BHWC = coarse.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :height, :width]
    noise_BHWC = rng.normal(0, _STEPS, shape_BHWC).round()
    return torch.from_numpy((images_BHWC + noise_BHWC).astype(np.int16))


def _plain_scores(network: nn.Module, pixels_RHWC: Tensor) -> Tensor:
    images_RCHW = pixels_RHWC.float().div(255).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        scores: Tensor = copy.deepcopy(network).eval()(images_RCHW)
    return scores


def _unexplained(scores_RK: Tensor, classes_B: NDArray[np.int64], rounding: float) -> int:
    """How many answers are not within rounding of the best class. NO_CLASS is right only if scores are not
    finite.
    """
    classes_R = torch.from_numpy(classes_B.copy())
    finite_R = scores_RK.isfinite().all(dim=1)
    answered_R = classes_R != NO_CLASS
    finite_FK, chosen_F1 = scores_RK[finite_R & answered_R], classes_R[finite_R & answered_R, None]
    wrong = int((finite_R != answered_R).sum())
    if not len(finite_FK):
        return wrong
    short_F = finite_FK.amax(dim=1) - finite_FK.gather(1, chosen_F1)[:, 0]
    return wrong + int((short_F > rounding * (finite_FK.max() - finite_FK.min())).sum())
