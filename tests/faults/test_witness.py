from pathlib import Path

from tests.faults.table import write
from tests.faults.witness import drawn_again


def test_votes_drawn_twice_are_counted_by_job_and_stage(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.write_text(
        "a selection 0 100\na estimation 0 100\na estimation 100 250\na estimation 50 300\nb estimation 0 5\n"
    )
    assert drawn_again(book) == {"a": 200, "b": 0}


def test_a_table_is_written_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    first, last = "<!-- rows: written by the command, not by hand -->", "<!-- end of rows -->"
    page.write_text(f"before\n{first}\nold\n{last}\nafter\n")
    write("new", "rows", page)
    assert page.read_text() == f"before\n{first}\nnew\n{last}\nafter\n"
