"""OpenVINO's own reading of an ONNX file, to compare with ours: `python -m ... MODEL IMAGES.npy SCORES.npy`.

Its reader is native code, so it runs in a child process with limits. A worker never runs it.
"""

import resource
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TIMEOUT = 120.0  # seconds
_MEMORY = 16 * 2**30  # bytes of data


def openvino_scores(content: bytes, images_BCHW: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The scores that OpenVINO computes from the file itself; None if it can't, or is not installed."""
    if find_spec("openvino") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        model, images, scores = (Path(folder, name) for name in ("model.onnx", "images.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(images, images_BCHW)
        command = [sys.executable, "-m", __name__, str(model), str(images), str(scores)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)  # noqa: S603
            found: NDArray[np.float32] = np.load(scores, allow_pickle=False)
        except (subprocess.SubprocessError, OSError, ValueError):
            return None
    return found


def _run(model: str, images: str, scores: str) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would send telemetry
    import openvino  # noqa: PLC0415

    images_BCHW = np.load(images, allow_pickle=False)
    core = openvino.Core()
    network = core.read_model(model)
    batch = network.input(0).partial_shape[0]
    size = batch.get_length() if batch.is_static else len(images_BCHW)
    config = {openvino.properties.hint.inference_precision(): openvino.Type.f32}
    compiled = core.compile_model(network, "CPU", config)
    parts = np.split(images_BCHW, len(images_BCHW) // size)
    np.save(scores, np.concatenate([compiled(part)[0] for part in parts]))


if __name__ == "__main__":
    _run(*sys.argv[1:4])
