"""OpenVINO on the CPU: one thread per stream; batches are classified while the next noise is drawn."""

import sys
import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import EngineConfig, Precision
from smoothcert.engines.int8 import attached, quantized
from smoothcert.engines.pytorch import ready_voter
from smoothcert.errors import InternalError
from smoothcert.schemas.certificate import Shape

# OpenVINO sends telemetry at import, unless its telemetry package can't be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "can't be imported"

import openvino  # noqa: E402
from openvino import properties  # noqa: E402

_HINTS: dict[Precision, openvino.Type] = {
    "float32": openvino.Type.f32,
    "bfloat16": openvino.Type.bf16,
    "int8": openvino.Type.f32,  # between the layers that run on integers
}


class OpenVinoVoter:
    """A BatchVoter with one stream per thread and one more slot than streams."""

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (config.batch, height, width, channels)
        self.slots = config.threads + 1
        self._pixels: dict[int, Tensor] = {}
        compiled = _compiled(network, self.shape_BHWC, config)
        self._requests = [compiled.create_infer_request() for _ in range(self.slots)]

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # for the noise; the processors belong to the streams
        request = self._requests[slot]
        request.wait()  # only waits if an interrupted range left a batch behind
        self._pixels[slot] = pixels_BHWC  # the request reads this memory until it is done
        request.set_input_tensor(openvino.Tensor(pixels_BHWC.numpy(), shared_memory=True))
        request.start_async()

    def classes(self, slot: int) -> NDArray[np.int64]:
        self._requests[slot].wait()
        classes: NDArray[np.int64] = self._requests[slot].get_output_tensor().data.copy()
        return classes


def _compiled(
    network: nn.Module, shape_BHWC: tuple[int, int, int, int], config: EngineConfig
) -> openvino.CompiledModel:
    if config.precision not in _HINTS:
        raise InternalError(f"OpenVINO runs float32, bfloat16 or int8 here, not {config.precision}.")
    options = {
        properties.hint.inference_precision(): _HINTS[config.precision],
        properties.num_streams(): config.threads,
        properties.inference_num_threads(): config.threads,
        properties.hint.enable_cpu_pinning(): False,
    }
    compiled = openvino.Core().compile_model(_converted(network, shape_BHWC, config), "CPU", options)
    real = compiled.get_property(properties.hint.inference_precision())
    if real != _HINTS[config.precision]:  # without bfloat16 support OpenVINO silently uses float32
        raise InternalError(f"OpenVINO would run {real.get_type_name()} here, not {config.precision}.")
    return compiled


def _converted(
    network: nn.Module, shape_BHWC: tuple[int, int, int, int], config: EngineConfig
) -> openvino.Model:
    """The voter as an OpenVINO graph of fixed shape in float32; the plugin casts by the precision hint."""
    voter = ready_voter(network, replace(config, precision="float32"))
    if config.precision == "int8":
        voter.network = quantized(voter.network, attached(network))
    example = torch.zeros(shape_BHWC, dtype=torch.int16)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about itself
        # The converter's own tracing would run the network several times more to check itself.
        traced = torch.jit.trace(voter, example, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, input=list(shape_BHWC))
