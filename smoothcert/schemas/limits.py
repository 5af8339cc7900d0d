"""What requests, cards and certificates may hold: ranges and patterns. Standard library only."""

import re

from smoothcert.errors import InvalidRequest

MAX_N0 = 1_000_000  # votes
MAX_N = 10_000_000  # votes; hours on the slowest model
MIN_ALPHA = 1e-12  # far below it the arithmetic of the bounds fails
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
