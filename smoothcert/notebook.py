"""What notebooks show of a certificate and of an evaluation: HTML with inline SVG, without any library."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from html import escape
from typing import Protocol

Point = tuple[float, float]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 360, 180, 44, 26  # pixels; of the plot, and of its margins
_SHOWN = 5  # classes with the most votes
_STYLE = "font-family:sans-serif;font-size:13px"


@dataclass(frozen=True)
class Sight:
    """What a certificate's process knows beside the document. picture: makes a PNG of the certified pixels.

    growth: (votes drawn, l2 radius proved so far), in order.
    """

    picture: Callable[[], bytes] | None = None
    growth: tuple[Point, ...] = ()


class Shown(Protocol):
    """The fields of a certificate that are shown."""

    @property
    def predicted_class(self) -> int | None: ...
    @property
    def label(self) -> str | None: ...
    @property
    def radius(self) -> float: ...
    @property
    def sigma(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def n(self) -> int: ...
    @property
    def counts(self) -> list[int]: ...


def certificate_html(certificate: Shown, sight: Sight) -> str:
    """Image, class, radius, votes of the leading classes, and the radius as it grew."""
    parts = [_picture(sight.picture()) if sight.picture else "", _facts(certificate)]
    if len(sight.growth) > 1:
        parts.append(step_plot(sight.growth, "votes", "certified radius"))
    cells = "".join(f'<div style="margin-right:16px">{part}</div>' for part in parts if part)
    return f'<div style="display:flex;align-items:center;{_STYLE}">{cells}</div>'


def step_plot(points: Sequence[Point], across: str, upwards: str, highest: float | None = None) -> str:
    """Points as a line of steps in an SVG picture. highest: the top of the axis, by default the largest y."""
    right = max((x for x, _ in points), default=0.0) or 1.0
    top = highest or max((y for _, y in points), default=0.0) or 1.0
    path, previous = [], None
    for x, y in points:
        left, height = _LEFT + (_WIDTH - _LEFT - 8) * x / right, 8 + (_HEIGHT - _BOTTOM - 8) * (1 - y / top)
        path.append(f"M{left:.1f},{height:.1f}" if previous is None else f"H{left:.1f}V{height:.1f}")
        previous = x, y
    floor = _HEIGHT - _BOTTOM
    texts = (
        (_LEFT - 4, 14, "end", f"{top:.3g}"),
        (_LEFT - 4, floor, "end", "0"),
        (_WIDTH - 8, floor + 14, "end", f"{right:.6g}"),
        ((_LEFT + _WIDTH) / 2, floor + 20, "middle", across),
        (_LEFT + 6, 14, "start", upwards),
    )
    labels = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11">{escape(text)}</text>'
        for x, y, anchor, text in texts
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(upwards)} against {escape(across)}" fill="currentColor">'
        f'<path d="M{_LEFT},8V{floor}H{_WIDTH - 8}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>'
        f'<path d="{"".join(path)}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>{labels}</svg>'
    )


def rounded_down(radius: float, digits: int) -> str:
    """A radius with so many decimals: what is shown must not claim more than was proved."""
    return str(Decimal(radius).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a header and a value."""
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(head)}</th>'
        + "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for head, *cells in rows
    )
    return f'<table style="{_STYLE}">{lines}</table>'


def _picture(png: bytes) -> str:
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<img src="{source}" width="112" style="image-rendering:pixelated" alt="the certified image">'


def _facts(certificate: Shown) -> str:
    answer = "abstained"
    if certificate.predicted_class is not None:
        name = (
            f" ({certificate.label})"
            if certificate.label not in (None, str(certificate.predicted_class))
            else ""
        )
        answer = f"class {certificate.predicted_class}{name}"
    leaders = sorted(enumerate(certificate.counts), key=lambda item: -item[1])[:_SHOWN]
    votes = ", ".join(f"{k}: {count}" for k, count in leaders if count)
    return html_table(
        [
            ("answer", answer),
            ("certified ℓ2 radius", rounded_down(certificate.radius, 4)),
            ("σ, α", f"{certificate.sigma:g}, {certificate.alpha:g}"),
            (f"of {certificate.n} votes", votes or "none"),
        ]
    )
