"""What requests, cards and certificates may hold: ranges, patterns, and checks of arguments given in Python.

Standard library only.
"""

import hashlib
import math
import operator
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from smoothcert.errors import InvalidRequest

MAX_N0 = 1_000_000  # votes
MAX_N = 10_000_000  # votes; hours on the slowest model
MIN_ALPHA = 1e-12  # far below it the arithmetic of the bounds fails
MAX_DEADLINE = 86_400.0  # seconds
LEAST_SIGMA = 1e-4  # below 2e-4 the noise does not reach another pixel value at 63 bits
LARGEST_SIGMA = 12.0  # beyond it pixel plus noise would not fit 16 bits
MAX_SIDE = 4096  # pixels; no card may ask for an image larger than an upload may be
MAX_LABELS = 100_000
CHANNELS = {"L": 1, "RGB": 3}

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")  # of a model
SEED = re.compile(r"[0-9a-fA-F]{32}")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_sigma(sigma: float) -> None:
    """Raises InvalidRequest if sigma is out of range."""
    if not LEAST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise InvalidRequest(
            f"sigma must be from {LEAST_SIGMA:g} to {LARGEST_SIGMA:g}, for pixels from 0 to 1; got {sigma}."
        )


def checked_seed(seed: int | str | None) -> str:
    """128 bits, hexadecimal; fresh random ones for None. Raises InvalidRequest."""
    if seed is None:
        return secrets.token_hex(16)
    if (number := _whole(seed)) is not None and 0 <= number < 2**128:
        return f"{number:032x}"
    if isinstance(seed, str) and SEED.fullmatch(seed):
        return seed.lower()
    raise InvalidRequest(f"seed={seed!r}: a seed is an int below 2**128 or 32 hexadecimal digits.")


def image_seed(run_seed: int, idx: int) -> str:
    """The seed of one image of an evaluation, hexadecimal: 128 bits of sha256 of the run's seed and the
    index.
    """
    return hashlib.sha256(f"{run_seed}:{idx}".encode()).digest()[:16].hex()


def checked_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W). Raises InvalidRequest."""
    sides = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    shape = tuple(
        number for side in sides if (number := _whole(side)) is not None and 1 <= number <= MAX_SIDE
    )
    if not len(sides) == len(shape) == 3:
        raise InvalidRequest(f"input_shape={input_shape!r}: it is (C, H, W), such as (3, 32, 32).")
    if shape[0] not in CHANNELS.values():
        raise InvalidRequest(f"input_shape={shape}: images have 1 channel (grey) or 3 (RGB).")
    return shape


def checked_labels(labels: Sequence[str] | None, num_classes: int) -> list[str]:
    """A name for each class, by default its number. Raises InvalidRequest."""
    classes = _whole(num_classes)
    if classes is None or not 2 <= classes <= MAX_LABELS:
        raise InvalidRequest(f"num_classes={num_classes!r}: a classifier has 2 to {MAX_LABELS} classes.")
    names = [str(k) for k in range(classes)] if labels is None else [str(label) for label in labels]
    if len(names) != classes:
        raise InvalidRequest(f"There are {len(names)} labels, but num_classes is {classes}.")
    return names


def _whole(value: Any) -> int | None:
    """An int, or an integer of NumPy or torch, as an int; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def per_channel(values: Sequence[float] | None, name: str, channels: int) -> tuple[float, ...] | None:
    """One number a channel; None if none are given. Raises InvalidRequest."""
    if values is None:
        return None
    several = values if isinstance(values, Iterable) else [values]
    numbers = tuple(number_of(value, name) for value in several)
    if len(numbers) != channels:
        raise InvalidRequest(
            f"{name} has {len(numbers)} numbers for {channels} channel(s): give one a channel."
        )
    return numbers


def number_of(value: Any, name: str) -> float:
    """A finite number. Raises InvalidRequest, with the argument's name."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name}={value!r} is no number.") from error
    if not math.isfinite(number):
        raise InvalidRequest(f"{name}={value!r} is not finite.")
    return number


def model_name(text: str) -> str:
    """As models are named in certificates: small letters, digits, dots, _ and -."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:100]
    return plain or "classifier"
