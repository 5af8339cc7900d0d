"""The certified pixels and their digest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothcert.schemas.certificate import InputDigest, Shape


@dataclass(frozen=True)
class CertifiedImage:
    """pixels: uint8 in C,H,W order. digest: how the certificate identifies them."""

    pixels: bytes
    digest: InputDigest

    @classmethod
    def of(cls, pixels: bytes, shape_CHW: Shape, preprocessing: Sequence[str] = ()) -> "CertifiedImage":
        """From uint8 pixels. preprocessing: the steps that produced them, in order."""
        channels, height, width = shape_CHW
        assert len(pixels) == channels * height * width
        sha256 = hashlib.sha256(pixels).hexdigest()
        return cls(pixels, InputDigest(shape=shape_CHW, sha256=sha256, preprocessing=list(preprocessing)))

    def to_array(self) -> NDArray[np.uint8]:
        """The pixels as a read-only uint8 array of shape (C, H, W)."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.digest.shape)
