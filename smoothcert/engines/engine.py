"""The engine: one network under one config, built once; samplers for images are cheap.

Before its first vote an engine must answer like the plain network. Tracing, folding, casting and compiling
may change answers by more than rounding: data-dependent control flow is lost in tracing, or a kernel is wrong
on some processor. Such an engine is rejected.
"""

import copy
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import Backend, DeviceKind, EngineConfig, Precision
from smoothcert.engines.hardware import describe, has_int8
from smoothcert.environment import how_to_install
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.noise.sampler import BatchVoter, Image, Sampler
from smoothcert.schemas.certificate import EngineDescription, Shape
from smoothcert.votes import NO_CLASS, VoteSource

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
    config: EngineConfig,
) -> None:
    """Compare answers to noisy pixels, in two orders of the batch, with those of `network` in float32.

    Raises InternalError: an answer differs by more than rounding, or the number of classes is wrong.
    """
    pixels_BHWC = noisy_pixels(shape_BHWC)
    scores_RK = _plain_scores(network, pixels_BHWC[:_ROWS])
    if scores_RK.shape[1:] != (num_classes,):
        raise InternalError(
            f"The network gives scores of shape {tuple(scores_RK.shape)}, not of {num_classes} classes."
        )
    forward, backward = classify([pixels_BHWC, pixels_BHWC.flip(0)])
    for classes_B in (forward, backward[::-1]):
        wrong = _unexplained(scores_RK, classes_B[:_ROWS], _ROUNDING[config.precision])
        if wrong:
            raise InternalError(
                f"{config} and the plain network differ on {wrong} of {len(scores_RK)} noisy "
                "images, so it can't be used for this network here."
            )


def noisy_pixels(shape_BHWC: tuple[int, int, int, int], steps: float = _STEPS) -> Tensor:
    """Images of coarse random blocks, on which classifiers give different answers, plus noise; int16.

    steps: standard deviation of the noise, in pixel steps.
    """
    rng = np.random.default_rng(0)
    size, height, width, channels = shape_BHWC
    coarse = rng.integers(0, 256, (size, -(-height // _BLOCK), -(-width // _BLOCK), channels))
    images_BHWC = coarse.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :height, :width]
    noise_BHWC = rng.normal(0, steps, shape_BHWC).round()
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


_BACKENDS: dict[DeviceKind, set[Backend]] = {
    "cpu": {"eager", "compile", "openvino"},
    "cuda": {"eager", "cuda-graph", "compile-cuda-graph"},
}
_PRECISIONS: dict[DeviceKind, set[Precision]] = {
    "cpu": {"float32", "bfloat16", "int8"},
    "cuda": {"float32", "tf32", "bfloat16", "float16"},
}
SamplerOf = Callable[[Image, float, int], VoteSource]


class Engine:
    """Draws the votes of one network. `description` names everything that decides them, for the certificate.

    Engines change process-wide settings of torch (threads): use one at a time, from one thread.
    """

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> None:
        """Copy, fold, cast, compile and warm up; the given network is not changed.

        Raises InvalidRequest: invalid config; InternalError: this machine can't run it, or its answers differ
        from those of the network.
        """
        check_runnable(config)
        self.config = config
        self.shape_CHW = shape_CHW
        self.num_classes = num_classes
        self.description: EngineDescription = describe(config)
        self._sampler_of = _sampler_of(network, shape_CHW, num_classes, config)

    def sampler(self, image_CHW: Image, sigma: float, seed: int) -> VoteSource:
        """The votes of one image (uint8, C,H,W) at noise level sigma (pixels in [0,1]); seed: 128 random
        bits.
        """
        return self._sampler_of(image_CHW, sigma, seed)


def check_runnable(config: EngineConfig) -> None:
    """Raises InvalidRequest: invalid config; InternalError: this machine can't run it."""
    if config.backend not in _BACKENDS[config.device] or config.precision not in _PRECISIONS[config.device]:
        raise InvalidRequest(f"{config}: {config.device} has no {config.backend} in {config.precision}.")
    if (config.device == "cpu") != (config.threads > 0):
        raise InvalidRequest(
            f"{config}: say how many threads, as in eager/2-threads, for the CPU and only there."
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InternalError(f"{config}: this machine has no CUDA device.")
    if config.backend == "openvino" and find_spec("openvino") is None:
        raise InternalError(f"{config}: OpenVINO is not installed. To get it: {how_to_install('cpu')}")
    if config.precision == "int8":
        _check_int8(config)


def _check_int8(config: EngineConfig) -> None:
    if config.backend != "openvino" or not config.folded:
        raise InvalidRequest(f"{config}: int8 is for openvino, with batch norm folded.")
    if not has_int8():
        raise InternalError(
            f"{config}: this processor has no exact products of eight-bit integers (VNNI), or oneDNN's "
            "environment variables forbid it to use them."
        )


def _sampler_of(network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> SamplerOf:
    if config.device == "cuda":
        from smoothcert.engines.cuda import CudaSampler, CudaVoter  # noqa: PLC0415

        cuda_voter = CudaVoter(network, shape_CHW, num_classes, config)
        check_agreement(network, cuda_voter.classify, cuda_voter.shape_BHWC, num_classes, config)
        return lambda image, sigma, seed: CudaSampler(cuda_voter, image, sigma, seed)
    voter = cpu_voter(network, shape_CHW, num_classes, config)
    check_agreement(network, in_turns(voter), voter.shape_BHWC, num_classes, config)
    return lambda image, sigma, seed: Sampler(voter, image, sigma, seed)


def cpu_voter(network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> BatchVoter:
    """The CPU voter of a config. Back ends are imported here, as OpenVINO is an extra."""
    if config.backend == "openvino":
        from smoothcert.engines.openvino_cpu import OpenVinoVoter  # noqa: PLC0415

        return OpenVinoVoter(network, shape_CHW, num_classes, config)
    from smoothcert.engines.pytorch import EagerVoter  # noqa: PLC0415

    return EagerVoter(network, shape_CHW, num_classes, config)
