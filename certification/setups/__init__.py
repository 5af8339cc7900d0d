"""The ways to run a network: one file a backend. None is imported before it is used."""

import sys

# OpenVINO's converter would report its use to its maker over the network; without the package it keeps quiet.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
