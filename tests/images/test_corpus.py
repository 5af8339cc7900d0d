"""Every picture means what browsers show of it: compared pixel by pixel with Chromium, kept and in person."""

import io

import numpy as np
import pytest
from PIL import Image

from smoothcert.errors import BadImage
from smoothcert.images.decode import read_image
from tests.images.bmps import disputed_bmps
from tests.images.corpus import corpus
from tests.images.shown import CHROMIUM, KEPT, shown
from tests.images.test_decode import card

FILES = corpus()
SHOWN = np.load(KEPT)
MANAGED = {"png gamma 1"}  # colours that browsers convert and we don't: the notes say so
WHERE_WE_DIFFER = MANAGED


def ours(data: bytes, shape: tuple[int, ...]) -> tuple[np.ndarray, list[str]]:
    image = read_image(data, card("RGB", (3, shape[0], shape[1])))
    return image.to_array().transpose(1, 2, 0), image.digest.preprocessing


def allowed(name: str) -> int:
    """Levels: decoders of lossy formats round as they like, and so does compositing half-clear pixels."""
    return 2 if name.startswith(("jpeg", "webp")) else 0


def alike(one: np.ndarray, other: np.ndarray, most: int) -> bool:
    """Equal up to so many levels: another release of Chromium, or another processor, may round otherwise."""
    return one.shape == other.shape and bool((np.abs(one.astype(int) - other) <= most).all())


@pytest.mark.parametrize("name", sorted(FILES.keys() - WHERE_WE_DIFFER))
def test_a_picture_means_what_chromium_shows(name: str) -> None:
    theirs = SHOWN[name]
    pixels, notes = ours(FILES[name], theirs.shape)
    assert not [note for note in notes if note.startswith("resized")]
    assert np.abs(pixels.astype(int) - theirs).max() <= allowed(name), notes


@pytest.mark.parametrize("name", sorted(FILES.keys() - WHERE_WE_DIFFER))
def test_a_grey_model_sees_the_same_picture(name: str) -> None:
    theirs = SHOWN[name]
    image = read_image(FILES[name], card("L", (1, *theirs.shape[:2])))
    luma = np.asarray(Image.fromarray(theirs).convert("L"))
    assert np.abs(image.to_array()[0].astype(int) - luma).max() <= allowed(name)


@pytest.mark.parametrize(("name", "data"), list(disputed_bmps()))
def test_what_browsers_show_differently_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(BadImage, match="which browsers show differently: save it as PNG"):
        read_image(data, card())


def test_what_is_not_converted_is_said() -> None:
    for name in MANAGED:
        assert ours(FILES[name], SHOWN[name].shape)[1][1] == "embedded gamma ignored"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH")
def test_what_is_kept_is_what_chromium_shows() -> None:
    pytest.importorskip("playwright.sync_api")
    live = shown(FILES)
    assert live.keys() == set(SHOWN.files) == FILES.keys()
    assert [name for name in FILES if not alike(live[name], SHOWN[name], allowed(name))] == []


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("png colour", "bmp", "gif"))])
def test_no_file_is_taken_that_ends_before_its_pixels_do(name: str) -> None:
    with pytest.raises(BadImage):
        read_image(FILES[name][: len(FILES[name]) - 30], card())


def test_the_picture_kept_is_read_back_as_itself() -> None:
    for name in ("png colour 2 depth 16 key", "bmp 32 alpha v108", "gif part of its screen"):
        pixels, _ = ours(FILES[name], SHOWN[name].shape)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        assert np.array_equal(ours(out.getvalue(), pixels.shape)[0], pixels)
