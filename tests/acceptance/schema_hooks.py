"""Loaded by Schemathesis: real images and the ids of real jobs, so that calls get beyond the first check."""

import os
from pathlib import Path
from typing import Any

import schemathesis

DIGIT = (Path(__file__).parents[1] / "data" / "digit-7.png").read_bytes()
KNOWN = {name: os.environ.get(f"KNOWN_{name.upper()}") for name in ("job_id", "batch_id")}


@schemathesis.hook
def map_path_parameters(ctx: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """An id that exists, for all but the longest made-up ones."""
    for name, known in KNOWN.items():
        if known and path_parameters and len(str(path_parameters.get(name, "x" * 99))) < 20:
            path_parameters[name] = known
    return path_parameters


@schemathesis.hook
def map_body(ctx: Any, body: Any) -> Any:
    """A digit where the made-up file is short."""
    if isinstance(body, dict) and isinstance(body.get("image"), bytes) and len(body["image"]) < 20:
        body["image"] = DIGIT
    return body
