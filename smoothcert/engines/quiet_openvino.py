"""OpenVINO without its telemetry.

Unless told otherwise its import reports to its makers over the network and keeps an id in the home
directory. Without the package that does so it falls back to a stub of its own.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # "can't be imported"

import openvino  # noqa: E402
from openvino import properties  # noqa: E402

__all__ = ["openvino", "properties"]
