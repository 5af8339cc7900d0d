"""Certified pixels carry what identifies them."""

import hashlib

import numpy as np
import pytest

from smoothcert.images.pixels import CertifiedImage


def test_the_digest_is_of_the_pixels_and_their_notes() -> None:
    image = CertifiedImage.of(bytes(4), (1, 2, 2), ["made by hand"])
    assert image.digest.sha256 == hashlib.sha256(bytes(4)).hexdigest()
    assert image.digest.preprocessing == ["made by hand"]


def test_pixels_come_back_in_the_order_channel_row_column() -> None:
    pixels_CHW = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    image = CertifiedImage.of(pixels_CHW.tobytes(), (3, 2, 2))
    assert np.array_equal(image.to_array(), pixels_CHW)


def test_pixels_that_do_not_fill_their_shape_are_a_programmers_error() -> None:
    with pytest.raises(AssertionError):
        CertifiedImage.of(bytes(3), (1, 2, 2))
