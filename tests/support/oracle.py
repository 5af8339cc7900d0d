"""Does a document prove what it claims? Decided apart from the program: own parsing, exact tails by mpmath.

Nothing of smoothcert is used, nor its way to the bounds. A figure may exceed what is proved by as little
as `verify` says it forgives (1e-12 of a bound, and of sigma or of the radius), and be smaller by any
amount: less is claimed then.
"""

import datetime
import json
import re
from dataclasses import dataclass
from typing import Any

import mpmath
from mpmath import mpf
from scipy import stats

FORGIVEN = mpf("1.01e-12")
HEX = "[0-9a-fA-F]"
TOP_LEVEL = {
    "outcome": str,
    "procedure": str,
    "radius": float,
    "sigma": float,
    "alpha": float,
    "n0": int,
    "n": int,
    "selection_counts": list,
    "counts": list,
    "bound": str,
    "p_lower": float,
    "p_upper": float,
    "schedule": list,
    "model": dict,
    "input": dict,
    "seed": str,
    "engine": dict,
    "issued_at": str,
}
OPTIONAL = {
    "predicted_class": int,
    "label": str,
    "target_radius": float,
    "target_met": bool,
    "tolerance": float,
    "drawn": int,
}
MAY_LACK = {"tolerance", "drawn"}
DEFAULTS = {"version": 1, "norm": "l2", "slack": 0.0, "signature": None}


@dataclass(frozen=True)
class Card:
    """What the verifier's own model says."""

    name: str
    weights: str
    classifier: str
    sigma: float
    shape: tuple[int, int, int]
    labels: tuple[str, ...]


class NotProved(Exception):
    """Why."""


def need(holds: object, why: str) -> None:
    if not holds:
        raise NotProved(why)


def why_not(data: bytes, card: Card, *, meant: bool = False) -> str | None:
    """Why a document doesn't prove what it claims; None when it does. meant: it must be about this model."""
    mpmath.mp.dps = 30
    try:
        document = _parse(data)
        _has_types(document)
        _is_question(document)
        _is_evidence(document)
        _claims_what_follows(document)
        _implies_no_more(document)
        if meant:
            _is_by(document["model"], card)
        if document["model"]["sha256"] == card.weights and (meant or document["model"]["name"] == card.name):
            _is_of(document, card)
    except (NotProved, ValueError) as why:
        return str(why) or type(why).__name__
    return None


def _parse(data: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "a name twice")
        return dict(pairs)

    document = json.loads(data, object_pairs_hook=once)
    need(type(document) is dict, "no object")
    return DEFAULTS | document


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < mpmath.inf
    return type(value) is kind


def _has_types(d: dict[str, Any]) -> None:
    for name, kind in TOP_LEVEL.items():
        need(name in d and _is(d[name], kind), name)
    for name, kind in OPTIONAL.items():
        need(name in d or name in MAY_LACK, name)
        need(d.get(name) is None or _is(d[name], kind), name)
    need(
        _is(d["version"], int) and d["version"] == 1 and d["norm"] == "l2" and _is(d["slack"], float), "kind"
    )
    for counts in (d["selection_counts"], d["counts"]):
        need(counts and all(_is(count, int) and count >= 0 for count in counts), "counts")
    for look in d["schedule"]:
        need(_is(look, dict) and _is(look.get("n"), int) and _is(look.get("alpha"), float), "look")
        need(_is(look.get("alpha_runner_up", 0.0), float), "look")
    _has_inner_types(d)
    need(re.fullmatch(HEX + "{32}", d["seed"]), "seed")
    need(d["issued_at"][10:11] in tuple("Tt"), "issued_at")
    need(datetime.datetime.fromisoformat(d["issued_at"].upper()).tzinfo, "issued_at")
    need(d["signature"] is None or _is(d["signature"], dict), "signature")


def _has_inner_types(d: dict[str, Any]) -> None:
    shape, digest = d["input"].get("shape"), HEX + "{64}"
    need(_is(shape, list) and len(shape) == 3 and all(_is(side, int) for side in shape), "shape")
    need(shape[0] in (1, 3) and all(1 <= side <= 4096 for side in shape[1:]), "shape")
    steps = d["input"].get("preprocessing")
    need(_is(steps, list) and all(_is(step, str) for step in steps), "preprocessing")
    digests = [d["input"].get("sha256"), d["model"].get("sha256")]
    if d["model"].get("classifier_sha256") is not None:
        digests.append(d["model"]["classifier_sha256"])
    need(all(_is(one, str) and re.fullmatch(digest, one) for one in digests), "digest")
    engine = d["engine"]
    texts = [d["model"].get("name"), *map(engine.get, ("device", "backend", "precision"))]
    need(all(_is(text, str) for text in texts), "text")
    need(_is(engine.get("batch"), int) and engine["batch"] >= 1, "batch")
    versions = engine.get("versions", {})
    need(_is(versions, dict) and all(_is(text, str) for text in versions.values()), "versions")


def _is_question(d: dict[str, Any]) -> None:
    need(d["procedure"] in ("anytime", "certify", "predict"), "procedure")
    need(1 <= d["n0"] <= 1_000_000, "n0")
    need(d["schedule"] and 1 <= d["schedule"][-1]["n"] <= 10_000_000, "n asked for")
    need(1e-12 <= d["alpha"] < 1, "alpha")
    need(1e-4 <= d["sigma"] <= 12, "sigma")
    need(d["target_radius"] is None or d["target_radius"] > 0, "target")
    need(d.get("tolerance") is None or 0 < d["tolerance"] < 1, "tolerance")


def _rule(d: dict[str, Any]) -> list[tuple[int, mpf, mpf]]:
    """docs/explanation.md's looks: votes, alpha, the runner-up's part."""
    n, alpha = d["schedule"][-1]["n"], mpf(d["alpha"])
    first = max(32, int(mpmath.ceil(-10 * mpmath.log(alpha, 2))))
    if d["procedure"] != "anytime" or n < 2 * first:
        return [(n, alpha, mpf(0))]
    steps = int(mpmath.nint(mpmath.log(mpf(n) / first) / mpmath.log(mpf("1.25"))))
    votes = [int(mpmath.nint(first * (mpf(n) / first) ** (mpf(i) / steps))) for i in range(steps)] + [n]
    early_stop = d["target_radius"] is not None or d.get("tolerance") is not None
    last = alpha / 2 if early_stop else alpha * 9 / 10
    spent = [(alpha - last) / steps] * steps + [last]
    return [(m, a, a / 10) for m, a in zip(votes, spent, strict=True)]


def _own_slack(d: dict[str, Any]) -> mpf:
    """Thresholds in 63 bits for this sigma, two more, a unit each, for every pixel."""
    with mpmath.workdps(40):
        furthest = mpmath.sqrt(2) * mpmath.erfinv(1 - mpf(2) ** -63)  # Phi is 1 to 63 bits from here on
        thresholds = 2 * int(mpmath.floor(255 * mpf(d["sigma"]) * furthest + mpf("0.5")))
        channels, height, width = d["input"]["shape"]
        return (thresholds + 2) * mpf(2) ** -63 * channels * height * width


def _is_evidence(d: dict[str, Any]) -> None:
    rule = _rule(d)
    need(len(rule) == len(d["schedule"]), "looks")
    for look, (n, alpha, runner_up) in zip(d["schedule"], rule, strict=True):
        need(look["n"] == n, "looks")
        need(abs(look["alpha"] - alpha) <= alpha * mpf("1.1e-8"), "alpha of a look")
        least = mpf("1.1e-8") * runner_up
        need(abs(look.get("alpha_runner_up", 0.0) - runner_up) <= least, "alpha of a look")
    need(d["bound"] == ("one_sided" if len(rule) == 1 else "runner_up"), "bound")
    need(_own_slack(d) * (1 - mpf("1e-12")) <= d["slack"] <= 1, "slack")
    selected = 0 if d["procedure"] == "predict" else d["n0"]
    need(sum(d["selection_counts"]) <= selected and sum(d["counts"]) <= d["n"], "more votes than drawn")
    need(len(d["counts"]) == len(d["selection_counts"]), "classes")
    drawn = d["n"] if d.get("drawn") is None else d["drawn"]
    need(d["n"] <= drawn <= rule[-1][0], "drawn")


def _lower(k: int, n: int, alpha: mpf) -> mpf:
    """Clopper and Pearson's, from below by next to nothing: P(k or more of n) is no more than alpha there.

    scipy says where to look, and nothing is believed that the exact tail doesn't confirm.
    """
    if k == 0:
        return mpf(0)
    near = mpf(float(stats.beta.ppf(float(alpha), k, n - k + 1)))
    for margin in (mpf("1e-12"), mpf("1e-11"), mpf("1e-10")):
        p = near - margin * min(near, 1 - near)
        if _tail(k, n, p) <= alpha:
            return p
    raise NotProved("the exact tail is another")


def _upper(k: int, n: int, alpha: mpf) -> mpf:
    """The same of the other votes."""
    return mpf(1) if k >= n or alpha == 0 else 1 - _lower(n - k, n, alpha)


def _tail(k: int, n: int, p: mpf) -> mpf:
    """P(k or more of n), for p below k/n: the terms only fall."""
    term = total = mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k)
    for i in range(k, n):
        term *= mpf(n - i) / (i + 1) * p / (1 - p)
        total += term
        if term < total * mpf("1e-25"):
            break
    return total


def _quantile(p: mpf) -> mpf:
    return mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1)


def _claims_what_follows(d: dict[str, Any]) -> None:
    winner, radius = d["predicted_class"], d["radius"]
    look = next((look for look in _rule(d) if look[0] == d["n"]), None)
    votes = d["counts"] if d["procedure"] == "predict" else d["selection_counts"]
    top = votes.index(max(votes))
    need((d["label"] is None) == (winner is None), "label")
    targeted = d["target_radius"] is not None and d["procedure"] != "predict"
    need(d["target_met"] is (radius >= d["target_radius"] if targeted else None), "target_met")
    if d["outcome"] == "abstained":
        need(winner is None and radius == 0, "an abstention with a claim")
    else:
        need(d["outcome"] == "certified" and winner == top and look is not None, "class")
    claimed = d["p_lower"], d["p_upper"]
    if d["procedure"] == "predict" or look is None:
        need(claimed == (0, 1) and radius == 0, "a bound that nothing bounds")
        if d["outcome"] == "certified":
            _is_settled(d, top)
        return
    p_lower, p_upper = _bounds(d, top, look)
    need(0 <= claimed[0] <= (p_lower + FORGIVEN if p_lower else 0), "p_lower")
    need(1 >= claimed[1] >= (p_upper - FORGIVEN if p_upper < 1 else 1), "p_upper")
    proved = mpf(d["sigma"]) / 2 * (_quantile(p_lower) - _quantile(p_upper)) if p_upper < p_lower else 0
    need(radius <= (proved + FORGIVEN * max(proved, d["sigma"]) if proved else 0), "radius")
    need(d["outcome"] == "abstained" or (proved and radius > 0), "certified without a radius")


def _implies_no_more(d: dict[str, Any]) -> None:
    """Every change that `implied` covers is within the radius."""
    claims = d.get("implied")
    if claims is None:
        return
    need(_is(claims, dict), "implied")
    need(all(_is(claims.get(name), float) and claims[name] >= 0 for name in ("l1", "linf")), "implied")
    need(
        all(_is(claims.get(name), int) and claims[name] >= 0 for name in ("linf_levels", "pixels")), "implied"
    )
    channels, height, width = d["input"]["shape"]
    values, radius = channels * height * width, mpf(d["radius"])
    need(claims["l1"] <= radius, "implied.l1")
    need(claims["linf"] * mpmath.sqrt(values) <= radius, "implied.linf")
    levels, pixels = claims["linf_levels"], claims["pixels"]
    need(levels == 0 or levels * mpmath.sqrt(values) < 255 * radius, "implied.linf_levels")
    need(pixels == 0 or mpmath.sqrt(pixels * channels) < radius, "implied.pixels")


def _bounds(d: dict[str, Any], top: int, look: tuple[int, mpf, mpf]) -> tuple[mpf, mpf]:
    n, alpha, runner_up = look
    second = _second(d, top)
    p_lower = max(mpf(0), _lower(d["counts"][top], n, alpha - runner_up) - d["slack"])
    p_upper = min(mpf(1), _upper(second, n, runner_up) + d["slack"], 1 - p_lower)
    return p_lower, p_upper


def _second(d: dict[str, Any], top: int) -> int:
    others = [count for k, count in enumerate(d["counts"]) if k != top]
    return max(others, default=0) + d["n"] - sum(d["counts"])


def _is_settled(d: dict[str, Any], top: int) -> None:
    """PREDICT: so uneven a split of the leading two is rarer than alpha where they are equally likely."""
    first, second = d["counts"][top], _second(d, top)
    need(first > second, "leader")
    tail = mpmath.fsum(mpmath.binomial(first + second, k) for k in range(first, first + second + 1))
    rarity = 2 * tail / mpf(2) ** (first + second)
    need(rarity + d["n"] * mpf(d["slack"]) <= mpf(d["alpha"]) * (1 + mpf("1e-9")), "leader")


def _is_by(voted: dict[str, Any], card: Card) -> None:
    need(voted["name"] == card.name and voted["sha256"] == card.weights, "the model")
    need(voted.get("classifier_sha256") in (None, card.classifier), "the model")


def _is_of(d: dict[str, Any], card: Card) -> None:
    need(d["sigma"] == card.sigma, "the model's sigma")
    need(tuple(d["input"]["shape"]) == card.shape, "the model's shape")
    need(len(d["counts"]) == len(card.labels), "the model's classes")
    winner = d["predicted_class"]
    need(winner is None or d["label"] == card.labels[winner], "the model's labels")
