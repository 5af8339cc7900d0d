"""Images given in Python: every form of the same pixels is the same image; all else is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothcert.errors import BadImage
from smoothcert.images.arrays import as_picture, certified_image, to_grid
from smoothcert.schemas.card import Preprocessing
from tests.support.cards import card_with

RNG = np.random.default_rng(0)
GREY_HW = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB_HWC = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = card_with(input_shape=(1, 5, 7))
RGB_CHANNELS = Preprocessing(mode="RGB", mean=(0.0,) * 3, std=(1.0,) * 3)
RGB = card_with(input_shape=(3, 5, 7), preprocessing=RGB_CHANNELS)


@pytest.mark.parametrize(
    "image",
    [
        GREY_HW,
        GREY_HW[None],
        GREY_HW[:, :, None],
        torch.from_numpy(GREY_HW),
        GREY_HW / 255,
        (GREY_HW / np.float32(255)).astype(np.float32),
        torch.from_numpy(GREY_HW).float().div(255)[None],
        torch.from_numpy(GREY_HW).double().div(255).requires_grad_(),
        Image.fromarray(GREY_HW),
        Image.fromarray(GREY_HW).convert("RGB"),
        Image.fromarray(GREY_HW).convert("RGBA"),
    ],
)
def test_every_form_of_a_grey_image_is_the_same_pixels(image: object) -> None:
    assert certified_image(image, GREY).to_array().tolist() == [GREY_HW.tolist()]


@pytest.mark.parametrize(
    "image",
    [
        RGB_HWC,
        RGB_HWC.transpose(2, 0, 1),
        torch.from_numpy(RGB_HWC).permute(2, 0, 1),
        torch.from_numpy(RGB_HWC).permute(2, 0, 1) / 255,
        RGB_HWC / 255,
        Image.fromarray(RGB_HWC),
    ],
)
def test_every_form_of_a_colour_image_is_the_same_pixels(image: object) -> None:
    assert certified_image(image, RGB).to_array().tolist() == RGB_HWC.transpose(2, 0, 1).tolist()


def test_float32_arithmetic_leaves_an_image_on_the_grid() -> None:
    normalised = (RGB_HWC.astype(np.float32) / 255 - np.float32(0.4)) / np.float32(0.2)
    restored = normalised * np.float32(0.2) + np.float32(0.4)
    assert certified_image(restored, RGB).to_array().tolist() == RGB_HWC.transpose(2, 0, 1).tolist()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (RGB_HWC / 255 + 0.001, "no multiples of 1/255.*to_grid"),
        (RGB_HWC.astype(np.float32), "divide it by 255"),
        ((RGB_HWC / 255 - 0.5) / 0.25, "before normalisation"),
        (np.full((3, 5, 7), np.nan), "NaN"),
        (RGB_HWC.astype(np.int64), "int64: convert"),
        ((RGB_HWC / 255).astype(np.float16), "float16: convert"),
        (torch.zeros(3, 5, 7, dtype=torch.bfloat16), "bfloat16: convert"),
        (RGB_HWC[None], r"batch\[0\]"),
        (GREY_HW, r"has shape \(5, 7\)"),
        (RGB_HWC[:4], r"has shape \(4, 7, 3\)"),
        (RGB_HWC.tolist(), "this is a list"),
        (None, "this is a NoneType"),
        (Image.fromarray(np.zeros((5, 7), np.float32)), "mode F"),
        (Path("nothing.png"), "can't be read"),
    ],
)
def test_what_is_no_image_is_refused_with_the_way_out(image: object, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as refused:
        certified_image(image, RGB)
    assert isinstance(refused.value, ValueError)


def test_a_turned_photograph_is_the_same_from_its_file_and_from_pil(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB_HWC.transpose(1, 0, 2)).save(tmp_path / "turned.png", exif=exif)
    from_file = certified_image(tmp_path / "turned.png", RGB)
    from_pil = certified_image(Image.open(tmp_path / "turned.png"), RGB)
    assert from_file.digest.sha256 == from_pil.digest.sha256
    assert from_pil.digest.preprocessing[0] == "from a PIL image, 5x7"


def test_rounding_to_the_grid_says_how_far() -> None:
    x = np.array([0.0, 0.5, 1.0])
    rounded = to_grid(x)
    assert rounded.pixels.tolist() == [0, 128, 255]
    assert rounded.distance == pytest.approx(0.5 / 255)
    assert to_grid(torch.from_numpy(RGB_HWC) / 255).distance < 1e-6
    for wrong in (x + 1, x - 1, RGB_HWC):
        with pytest.raises(BadImage):
            to_grid(wrong)


@pytest.mark.parametrize("image", [GREY_HW, RGB_HWC, RGB_HWC.transpose(2, 0, 1), GREY_HW[None] / 255])
def test_arrays_become_pictures_of_any_size(image: np.ndarray) -> None:
    assert as_picture(image).size == (7, 5)
    with pytest.raises(BadImage, match="shape"):
        as_picture(np.zeros((2, 5, 7), np.uint8))
