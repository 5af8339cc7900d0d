from pathlib import Path

import pytest

from smoothcert.cli.options import SLICE, expand, is_one_file, slices
from smoothcert.errors import InvalidRequest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", "deeper/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_a_folder_is_searched_whole_for_images(folder: Path) -> None:
    names = [str(path.relative_to(folder)) for path in expand([str(folder)])]
    assert names == ["a.JPG", "b.png", "deeper/c.webp"]


def test_patterns_match_and_a_file_named_twice_counts_once(folder: Path) -> None:
    assert expand([f"{folder}/*.png", f"{folder}/b.png"]) == [folder / "b.png"]


def test_a_file_is_taken_by_its_name_whatever_that_is(folder: Path) -> None:
    odd = folder / "what[1].png"
    odd.touch()
    assert expand([str(odd)]) == [odd]
    assert is_one_file([str(odd)])
    assert not is_one_file([str(folder)])
    assert not is_one_file([f"{folder}/*.png"])


@pytest.mark.parametrize("word", ["*.gif", "empty"])
def test_words_that_name_no_image_are_refused(folder: Path, word: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InvalidRequest):
        expand([f"{folder}/{word}"])


def test_slices_hold_every_file_once_and_no_more_than_a_service_takes(folder: Path) -> None:
    paths = [folder / "b.png"] * (2 * SLICE + 1)
    parts = list(slices(paths))
    assert [len(part) for part in parts] == [SLICE, SLICE, 1]
    assert parts[0][0] == (folder / "b.png", b"b.png")
