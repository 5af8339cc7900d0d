"""Certificates as text, tables and JSON. Printed radii are rounded down."""

import csv
import io
import json
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from smoothcert.cli.output import table
from smoothcert.files import shown
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Progress

Certified = tuple[Path, Certificate]  # an image file and its certificate
COLUMNS = ("image", "outcome", "class", "label", "radius", "n", "alpha", "sigma", "model")


def describe(certificate: Certificate) -> str:
    """One certificate in a few lines."""
    c = certificate
    drawn = f"{c.n} votes at sigma {c.sigma:g}, error probability at most {c.alpha}"
    votes = sorted(((count, k) for k, count in enumerate(c.counts) if count), reverse=True)[:3]
    counted = ", ".join(f"class {k}: {count}" for count, k in votes)
    lines = [_answer(c), f"{c.model.name}, {c.procedure}: {drawn} ({counted})"]
    lines += [f"the image was {', '.join(c.input.preprocessing)}"] * bool(c.input.preprocessing)
    if c.target_met is not None:
        lines.append(f"target radius {c.target_radius}: {'proved' if c.target_met else 'not proved'}")
    return "\n".join(lines)


def as_table(certified: Sequence[Certified]) -> str:
    """An aligned table, one line per image."""
    return table(COLUMNS, [_row(path, certificate) for path, certificate in certified])


def as_tsv(certified: Sequence[Certified]) -> str:
    """TSV with a header, one line per image."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(path, certificate) for path, certificate in certified)
    return text.getvalue()


def to_json(certified: Sequence[Certified]) -> str:
    """A JSON list of {image, certificate}."""
    return json.dumps(
        [{"image": shown(path), "certificate": c.model_dump(mode="json")} for path, c in certified], indent=2
    )


def as_document(certificate: Certificate) -> str:
    """One certificate as ASCII JSON."""
    return json.dumps(certificate.model_dump(mode="json"), indent=2)


def _row(path: Path, c: Certificate) -> list[str]:
    winner = "-" if c.predicted_class is None else str(c.predicted_class)
    figures = [rounded_down(c.radius), str(c.n), str(c.alpha), f"{c.sigma:g}"]
    return [shown(path), c.outcome, winner, c.label or "-", *figures, c.model.name]


def _answer(c: Certificate) -> str:
    if c.outcome == "abstained":
        return "abstained: no class is proved at this error probability"
    named = f"class {c.predicted_class}" + (f" ({c.label})" if c.label != str(c.predicted_class) else "")
    if c.procedure == "predict":
        return f"{named}, without a radius"
    return f"{named}, certified within l2 radius {rounded_down(c.radius)} (pixels in [0,1])"


def so_far(progress: Progress) -> str:
    """The text of the progress bar."""
    return f"radius {rounded_down(progress.radius or 0.0)} so far"


def rounded_down(radius: float) -> str:
    """The radius rounded down to four decimals."""
    return str(Decimal(radius).quantize(Decimal("0.0001"), ROUND_FLOOR))
