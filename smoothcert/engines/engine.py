"""The engine: one network under one config, built once; samplers for images are cheap."""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import nn

from smoothcert.engines.agreement import check_agreement, in_turns
from smoothcert.engines.config import Backend, DeviceKind, EngineConfig, Precision
from smoothcert.engines.hardware import describe, has_int8
from smoothcert.environment import how_to_install
from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.noise.sampler import BatchVoter, Image, Sampler
from smoothcert.schemas.certificate import Engine as EngineDescription
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import VoteSource

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

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> None:
        """Copy, fold, cast, compile and warm up; the given network is not changed.

        Raises InvalidRequest: invalid config; InternalError: this machine can't run it, or its answers differ
        from those of the network.
        """
        check_runnable(setup)
        self.setup = setup
        self.shape_CHW = shape_CHW
        self.num_classes = num_classes
        self.description: EngineDescription = describe(setup)
        self._sampler_of = _sampler_of(network, shape_CHW, num_classes, setup)

    def sampler(self, image_CHW: Image, sigma: float, seed: int) -> VoteSource:
        """The votes of one image (uint8, C,H,W) at noise level sigma (pixels in [0,1]); seed: 128 random
        bits.
        """
        return self._sampler_of(image_CHW, sigma, seed)


def check_runnable(setup: EngineConfig) -> None:
    """Raises InvalidRequest: invalid config; InternalError: this machine can't run it."""
    if setup.backend not in _BACKENDS[setup.device] or setup.precision not in _PRECISIONS[setup.device]:
        raise InvalidRequest(f"{setup}: {setup.device} has no {setup.backend} in {setup.precision}.")
    if (setup.device == "cpu") != (setup.threads > 0):
        raise InvalidRequest(
            f"{setup}: say how many threads, as in eager/2-threads, for the CPU and only there."
        )
    if setup.device == "cuda" and not torch.cuda.is_available():
        raise InternalError(f"{setup}: this machine has no CUDA device.")
    if setup.backend == "openvino" and find_spec("openvino") is None:
        raise InternalError(f"{setup}: OpenVINO is not installed. To get it: {how_to_install('cpu')}")
    if setup.precision == "int8":
        _check_int8(setup)


def _check_int8(setup: EngineConfig) -> None:
    if setup.backend != "openvino" or not setup.folded:
        raise InvalidRequest(f"{setup}: int8 is for openvino, with batch norm folded.")
    if not has_int8():
        raise InternalError(
            f"{setup}: this processor has no exact products of eight-bit integers (VNNI), or oneDNN's "
            "environment variables forbid it to use them."
        )


def _sampler_of(network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> SamplerOf:
    if setup.device == "cuda":
        from smoothcert.engines.cuda import CudaSampler, CudaVoter  # noqa: PLC0415

        cuda_voter = CudaVoter(network, shape_CHW, num_classes, setup)
        check_agreement(network, cuda_voter.classify, cuda_voter.shape_BHWC, num_classes, setup)
        return lambda image, sigma, seed: CudaSampler(cuda_voter, image, sigma, seed)
    voter = cpu_voter(network, shape_CHW, num_classes, setup)
    check_agreement(network, in_turns(voter), voter.shape_BHWC, num_classes, setup)
    return lambda image, sigma, seed: Sampler(voter, image, sigma, seed)


def cpu_voter(network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> BatchVoter:
    """The CPU voter of a config. Back ends are imported here, as OpenVINO is an extra."""
    if setup.backend == "openvino":
        from smoothcert.engines.openvino_cpu import OpenVinoVoter  # noqa: PLC0415

        return OpenVinoVoter(network, shape_CHW, num_classes, setup)
    from smoothcert.engines.pytorch import EagerVoter  # noqa: PLC0415

    return EagerVoter(network, shape_CHW, num_classes, setup)
