"""Certificates edited as a forger would: any fields to anything, and what follows made to follow again.

    python -m tests.cli.forging 20000

verifies so many, and says how many were accepted that prove nothing, by the first reason of the oracle.
"""

import contextlib
import io
import json
import math
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from smoothcert.cli.verify import verify
from smoothcert.errors import InternalError
from smoothcert.noise.normal import slack
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription, InputDigest
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.schedule import look_schedule
from smoothcert.testing import KnownVotes
from tests.support.oracle import Card, why_not

WISHES: list[tuple[dict[str, Any], list[float]]] = [
    ({"n": 5000}, [0.02, 0.02, 0.02, 0.9]),
    ({"n": 5000, "target_radius": 0.3}, [0.05, 0.9]),
    ({"n": 2000, "tolerance": 0.1}, [0.3, 0.3, 0.3]),
    ({"n": 150}, [1.0]),
    ({"procedure": "certify", "n": 1000}, [0.0, 0.1, 0.85]),
    ({"procedure": "certify", "n": 1000, "target_radius": 0.5}, [0.5, 0.5]),
    ({"procedure": "predict", "n": 400}, [0.2, 0.0, 0.0, 0.0, 0.7]),
    ({"procedure": "predict", "n": 300}, [0.34, 0.33, 0.33]),
]
WILD: list[Any] = [0, 1, -1, 2, 5, 32, 5000, 10**7, 10**18, -(10**30), 10**400, 0.0, 1.0, 0.5, 0.999, -0.5]
WILD += [1e-7, 2e-6, 1e-300, 1e18, 1e308, math.inf, -math.inf, math.nan]
WILD += [None, True, False, "", "0", "5000", "0.5", "f" * 32, "\ud800", "a/b", [], {}, [0], [[]], {"n": 1}]
FACTORS = [0.1, 0.5, 0.999, 1 - 1e-7, 1 - 1e-9, 1 + 1e-9, 1 + 1e-7, 1.001, 2, 10, -1]
STEPS = [-1, 1, -1e-6, 1e-6, -1e-9, 1e-9, 100]

Place = tuple[Any, ...]  # keys and indices down to a value
Document = dict[str, Any]


def genuine(card: ModelCard) -> list[Document]:
    """Certificates of all three procedures, as this model's, of known votes."""
    documents = []
    for wish, probabilities in WISHES:
        parameters = Parameters.model_validate({"sigma": card.sigma} | wish)
        classes = probabilities + [0.0] * (len(card.labels) - len(probabilities))
        certification = Certification(parameters, len(classes), slack=slack(card.sigma, 28 * 28))
        for _ in drive(certification, KnownVotes(classes), 5000):
            pass
        certificate = build_certificate(
            certification.result,
            parameters,
            card=card,
            input_digest=InputDigest(shape=card.input_shape, sha256="1c" * 32, preprocessing=["decoded"]),
            seed="5e" * 16,
            engine=EngineDescription(device="cpu", backend="eager/1-threads", precision="float32", batch=128),
        )
        documents.append(json.loads(certificate.model_dump_json()))
    return documents


def places(value: Any, above: Place = ()) -> list[Place]:
    """Every value of a document; of the lists, the first three items and the last."""
    inside = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inside = [(i, item) for i, item in enumerate(value) if i < 3 or i == len(value) - 1]
    found = [above] if above else []
    for key, item in inside:
        found += places(item, (*above, key))
    return found


def at(document: Document, place: Place) -> Any:
    for key in place:
        document = document[key]
    return document


@dataclass(frozen=True)
class Edit:
    """One value replaced, dropped, or written twice with the other value first."""

    place: Place
    value: Any
    how: str

    def on(self, document: Document) -> None:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier edit took it away
            *above, key = self.place
            if self.how == "drop":
                del at(document, tuple(above))[key]
            elif self.how == "replace":
                at(document, tuple(above))[key] = self.value


@st.composite
def edits(draw: Callable[..., Any], document: Document) -> Edit:
    """Of one field, where the fields are equally likely and not the items of the longest list."""
    field = draw(st.sampled_from(sorted(document)))
    place = draw(st.sampled_from([place for place in places(document) if place[0] == field]))
    how = draw(st.sampled_from(["replace"] * 8 + ["drop", "twice"]))
    return Edit(place, draw(changed(at(document, place))), how)


def changed(value: Any) -> st.SearchStrategy[Any]:
    """Another value: anything, or what is near."""
    near: list[Any] = [str(value), [value]]
    if isinstance(value, int | float):
        near += [value * factor for factor in FACTORS] + [value + step for step in STEPS]
        near += [float(value), bool(value), round(value)]
    if isinstance(value, str):
        near += [value + "x", value.upper(), value[:-1], "certified", "predict", "certify", "anytime"]
    if isinstance(value, list):
        near += [value[1:], value[:-1], value + value[-1:], value[::-1], [0] * len(value)]
    return st.sampled_from(near) | st.sampled_from(WILD)


@st.composite
def forgeries(draw: Callable[..., Any], documents: list[Document]) -> bytes:
    """One or two edits of a genuine certificate; perhaps a schedule and figures that follow from them."""
    document = json.loads(json.dumps(draw(st.sampled_from(documents))))
    chosen = draw(st.lists(edits(document), min_size=1, max_size=2))
    for edit in chosen:
        edit.on(document)
    if draw(st.booleans()):
        with contextlib.suppress(Exception):
            document["schedule"] = schedule_of(document)
    if draw(st.booleans()):
        with contextlib.suppress(Exception):
            document |= figures_of(document)
    text = json.dumps(document)
    for edit in chosen:
        if edit.how == "twice" and len(edit.place) == 1:
            text = f"{{{json.dumps(edit.place[0])}: {json.dumps(edit.value)}, {text[1:]}"
    return text.encode()


def schedule_of(d: Document) -> list[Document]:
    """The looks for what the document now says was asked, whether or not that may be asked."""
    names = ("procedure", "n0", "alpha", "target_radius", "tolerance", "sigma")
    asked = Parameters.model_construct(**{name: d[name] for name in names}, n=d["schedule"][-1]["n"])
    return [look.model_dump() for look in look_schedule(asked).looks]


def figures_of(d: Document) -> Document:
    """Bounds, radius and class from the counts, with whatever slack, sigma and alpha are there."""
    look = next(look for look in d["schedule"] if look["n"] == d["n"])
    top = d["selection_counts"].index(max(d["selection_counts"]))
    n, k, second = d["n"], d["counts"][top], max(c for i, c in enumerate(d["counts"]) if i != top)
    second += n - sum(d["counts"])
    lower = stats.beta.ppf(look["alpha"] - look["alpha_runner_up"], k, n - k + 1) if k else 0.0
    upper = (
        stats.beta.isf(look["alpha_runner_up"], second + 1, n - second) if look["alpha_runner_up"] else 1.0
    )
    p_lower = max(0.0, float(lower) - d["slack"])
    p_upper = min(1.0, float(upper) + d["slack"], 1 - p_lower)
    radius = max(0.0, d["sigma"] / 2 * float(stats.norm.ppf(p_lower) - stats.norm.ppf(p_upper)) - 1e-9)
    figures = {"p_lower": p_lower, "p_upper": p_upper, "radius": radius, "predicted_class": top}
    target = d["target_radius"]
    met = None if target is None else radius >= target
    return figures | {"outcome": "certified", "label": str(top), "target_met": met, "implied": None}


def verdict(path: Path, document: bytes, card: Card, *, meant: bool) -> str:
    """`refused`, `held`, or what is wrong with the program's answer."""
    path.write_bytes(document)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            verify([path], model=card.name if meant else None)
    except InternalError:
        return "refused"
    except Exception as error:
        return f"broke: {type(error).__name__}"
    why = why_not(document, card, meant=meant)
    return "held" if why is None else f"accepted wrongly: {why}"


def oracle_card(card: ModelCard) -> Card:
    shape, labels = card.input_shape, tuple(card.labels)
    classifier = card.classifier_sha256_in("float32")
    return Card(card.name, card.weights_sha256, classifier, card.sigma, shape, labels)


def main(examples: int, model: str = "mnist-lenet-consistency-0.50") -> None:
    from smoothcert.cli.checkpoints import find_checkpoint

    card = find_checkpoint(model).card
    found: Counter[str] = Counter()
    path = Path(tempfile.mkdtemp()) / "forged.json"

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(forgeries(genuine(card)), st.booleans())
    def forge(document: bytes, meant: bool) -> None:
        signal.setitimer(signal.ITIMER_REAL, 5)
        try:
            found[verdict(path, document, oracle_card(card), meant=meant)] += 1
        except TimeoutError:
            found["slow"] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, _too_slow)
    started = time.monotonic()
    forge()
    print(f"{sum(found.values())} documents in {time.monotonic() - started:.0f} s")
    for answer, times in found.most_common():
        print(f"{times:7} {answer}")


def _too_slow(*_: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    main(int(sys.argv[1]))
