from pathlib import Path

from certification.catalogue import Catalogue


def test_where_there_is_no_folder_there_are_no_models(tmp_path: Path) -> None:
    assert Catalogue(tmp_path / "none").names() == []
    assert list(Catalogue(tmp_path / "none").cards()) == []
