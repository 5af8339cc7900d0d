from pathlib import Path

import pytest

from certification.errors import BadCheckpoint
from certification.files import read_bounded, write_whole


def test_a_file_of_just_the_bound_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, "is too long.") == b"12345"
    with pytest.raises(BadCheckpoint, match="is too long"):
        read_bounded(path, 4, "is too long.")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="No such file"):
        read_bounded(tmp_path / "none", 5, "")


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "setup.json"
    for content in (b"old", b"new"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
