"""Builds the single-file verifier: `python -m tests.release.verifier OUT.pyz`, or `make verifier`."""

import json
import sys
import zipfile
from pathlib import Path

from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.evaluation_run import EvaluationRun
from smoothcert.schemas.statement import Statement
from smoothcert.standalone import SCHEMAS

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "smoothcert/errors.py",
    "smoothcert/files.py",
    "smoothcert/noise/__init__.py",
    "smoothcert/noise/normal.py",
    "smoothcert/schemas/__init__.py",
    "smoothcert/schemas/evaluation_log.py",
    "smoothcert/schemas/json_text.py",
    "smoothcert/schemas/limits.py",
    "smoothcert/standalone.py",
    "smoothcert/stats/__init__.py",
    "smoothcert/stats/recompute.py",
    "smoothcert/stats/statement.py",
    "smoothcert/stats/statement_checks.py",
    "smoothcert/stats/verify.py",
)
DOCUMENTS = {"certificate": Certificate, "statement": Statement, "run": EvaluationRun}
MAIN = "import sys\n\nfrom smoothcert.standalone import main\n\nsys.exit(main(sys.argv[1:]))\n"
WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold, so that builds are alike


def build_verifier(out: Path) -> None:
    """Write the zip application."""
    files = {name: (ROOT / name).read_text() for name in PARTS}
    files["smoothcert/__init__.py"] = '"""The part of SmoothCert that verifies."""\n'
    files[f"smoothcert/{SCHEMAS}"] = json.dumps(
        {name: model.model_json_schema() for name, model in DOCUMENTS.items()}
    )
    files["__main__.py"] = MAIN
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name, WHEN), text, zipfile.ZIP_DEFLATED)
    out.chmod(0o755)


if __name__ == "__main__":
    build_verifier(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {Path(sys.argv[1]).stat().st_size:,} bytes")
