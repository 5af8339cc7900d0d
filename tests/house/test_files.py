"""The repository stays small, and no checkpoint in it is a pickle."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"}
OUTSIDE = {".venv", ".git", "build", "data"}


def files(place: Path) -> Iterator[Path]:
    """Every file below `place` that could be committed."""
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if name not in OUTSIDE and not name.endswith("_cache")]
        yield from (Path(folder) / name for name in names)


def total_size(place: Path) -> int:
    return sum(path.stat().st_size for path in files(place))


def test_sample_data_of_the_tests_stays_under_five_megabytes() -> None:
    assert 0 < total_size(ROOT / "tests" / "data") < 5_000_000


def test_each_bundled_checkpoint_stays_under_ten_megabytes() -> None:
    sizes = {card.parent.name: total_size(card.parent) for card in (ROOT / "models").glob("*/card.json")}
    assert sizes
    assert {name: size for name, size in sizes.items() if size >= 10_000_000} == {}


def test_no_checkpoint_is_a_pickle() -> None:
    assert [path for path in files(ROOT) if path.suffix in PICKLES] == []
