"""Images given in Python: every form of the same pixels is the same image; all else is refused in words."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothcert.connection import named_file
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
        (Image.new("L", (0, 5)), "can't be read: .* empty"),
        (Path("nothing.png"), "can't be read"),
        ("a\0b.png", "no path"),
        (open(__file__, "rb", buffering=0), "this is a FileIO"),  # noqa: SIM115, PTH123
    ],
)
def test_what_is_no_image_is_refused_with_the_way_out(image: object, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as refused:
        certified_image(image, RGB)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_a_turned_photograph_is_the_same_from_its_file_and_from_pil(tmp_path: Path, format_name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned"
    Image.fromarray(RGB_HWC.transpose(1, 0, 2)).save(path, format_name, exif=exif, lossless=True)
    from_file = certified_image(path, RGB)
    with Image.open(path) as picture:
        from_pil = certified_image(picture, RGB)
        sent = certified_image(named_file(picture)[1], RGB)
    assert from_file.digest.sha256 == from_pil.digest.sha256 == sent.digest.sha256
    assert from_pil.digest.preprocessing[0] == "from a PIL image, 5x7"


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_in_any_byte_order_keep_their_high_byte(mode: str) -> None:
    levels_HW = RNG.integers(0, 2**16, (5, 7), dtype=np.uint16)
    stored = levels_HW.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    pixels = certified_image(Image.frombytes(mode, (7, 5), stored), GREY)
    assert pixels.to_array().tolist() == [(levels_HW >> 8).tolist()]


@pytest.mark.parametrize(("mode", "stored_as"), [("LA", "La"), ("LA", "PA"), ("RGBA", "RGBa")])
def test_transparency_counts_however_pil_keeps_it(mode: str, stored_as: str) -> None:
    seen = Image.new(mode, (7, 5), (100, 128) if mode == "LA" else (100, 100, 100, 128))
    kept = Image.new(stored_as, (7, 5), (0, 128)) if stored_as == "PA" else seen.convert(stored_as)
    if stored_as == "PA":
        kept.putpalette([100] * 768)
    (value,) = np.unique(certified_image(kept, GREY).to_array())
    assert abs(int(value) - 177) <= 1, "half of 100, half of white"


def test_a_file_that_pil_finds_damaged_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(RNG.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with Image.open(path) as picture, pytest.raises(BadImage, match=r"can't be read: .*truncated"):
        certified_image(picture, RGB)


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
