"""The pixels a job certifies: what the service decoded, kept until the record expires."""

import hashlib
from dataclasses import dataclass

from certification.contract.certificate import InputDigest


@dataclass(frozen=True)
class Image:
    """uint8 pixels in C,H,W order, with what was done to the file to get them.

    Raises nothing: pixels and shape are made together by whoever decodes.
    """

    pixels: bytes
    digest: InputDigest

    @classmethod
    def of(cls, pixels: bytes, shape: tuple[int, int, int], preprocessing: list[str]) -> "Image":
        assert len(pixels) == shape[0] * shape[1] * shape[2]
        sha256 = hashlib.sha256(pixels).hexdigest()
        return cls(pixels, InputDigest(shape=shape, sha256=sha256, preprocessing=preprocessing))
