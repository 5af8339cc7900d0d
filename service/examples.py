"""Examples for the OpenAPI schema: one job from submission to certificate."""

from typing import Any

Example = dict[str, Any]

_ID = "JrF4nBtisLfpwo_imgqOsh3V"
_HERE = f"/jobs/{_ID}"

QUEUED: Example = {
    "id": _ID,
    "status": "queued",
    "model": "mnist-lenet-consistency-0.50",
    "parameters": {
        "procedure": "anytime",
        "n0": 100,
        "n": 1000,
        "alpha": 0.001,
        "target_radius": None,
        "tolerance": None,
        "sigma": 0.5,
    },
    "queue_position": 0,
    "progress": {"samples": 0, "of": 1000, "radius": None, "predicted_class": None, "counts": None},
    "certificate": None,
    "error": None,
    "created_at": "2026-11-22T12:06:36.789468Z",
    "started_at": None,
    "finished_at": None,
    "attempts": 0,
    "links": {
        "self": _HERE,
        "events": f"{_HERE}/events",
        "cancel": f"{_HERE}/cancel",
        "certificate": f"{_HERE}/certificate",
        "input": f"{_HERE}/input.png",
    },
}

CERTIFICATE: Example = {
    "version": 1,
    "outcome": "certified",
    "procedure": "anytime",
    "predicted_class": 3,
    "label": "3",
    "radius": 1.2026,
    "norm": "l2",
    "sigma": 0.5,
    "alpha": 0.001,
    "n0": 100,
    "n": 1000,
    "drawn": 1000,
    "selection_counts": [0, 0, 0, 100, 0, 0, 0, 0, 0, 0],
    "counts": [0, 0, 0, 1000, 0, 0, 0, 0, 0, 0],
    "bound": "runner_up",
    "p_lower": 0.9929,
    "p_upper": 0.0071,
    "schedule": [{"n": 1000, "alpha": 0.0009, "alpha_runner_up": 0.00009}],
    "slack": 0.0,
    "target_radius": None,
    "tolerance": None,
    "target_met": None,
    "model": {"name": "mnist-lenet-consistency-0.50", "sha256": "9f" * 32, "classifier_sha256": "5c" * 32},
    "input": {"shape": [1, 28, 28], "sha256": "1c" * 32, "preprocessing": ["decoded from PNG, 28x28"]},
    "seed": "5e" * 16,
    "engine": {"device": "cpu", "backend": "eager", "precision": "float32", "batch": 256, "versions": {}},
    "issued_at": "2026-11-22T12:06:37.201934Z",
}

SUCCEEDED: Example = QUEUED | {
    "status": "succeeded",
    "queue_position": None,
    "progress": {
        "samples": 1000,
        "of": 1000,
        "radius": 1.2026,
        "predicted_class": 3,
        "counts": CERTIFICATE["counts"],
    },
    "certificate": CERTIFICATE,
    "started_at": "2026-11-22T12:06:36.801223Z",
    "finished_at": "2026-11-22T12:06:37.201934Z",
    "attempts": 1,
}

CANCELLED: Example = SUCCEEDED | {"status": "cancelled"}

BATCH: Example = {
    "id": "b0t9Xo2xQ3mJx7mYbFq1aSxk",
    "created_at": "2026-11-22T12:06:36.789468Z",
    "ended": False,
    "counts": {"queued": 1},
    "jobs": [QUEUED],
    "links": {"self": "/batches/b0t9Xo2xQ3mJx7mYbFq1aSxk"},
}

LIST: Example = {"jobs": [SUCCEEDED], "next": None}
