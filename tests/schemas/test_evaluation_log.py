from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import (
    COLUMNS,
    Evidence,
    Row,
    format_row,
    format_time,
    parse_log,
    read_log,
)

FIELD_LOG = """idx\tlabel\tpredict\tradius\tcorrect\ttime
0\t7\t7\t0.953\t1\t0:00:00.293841
20\t9\t-1\t0.0\t0\t0:00:00
40\t1\t2\t0.12\t0\t0:01:02.5
"""


def a_row(**changes: object) -> Row:
    evidence = Evidence(100, 1000, 0.001, 0.5, "one_sided", 0.96875, 0.03125, (990, 8, 2), "00ff")
    return Row(**{**vars(Row(0, 0, 0, 0.75, True, 0.3, evidence)), **changes})


def as_text(*rows: Row) -> str:
    return "\t".join(COLUMNS) + "\n" + "".join(map(format_row, rows))


def test_the_fields_own_six_columns_are_read() -> None:
    rows = parse_log(FIELD_LOG, "log").rows
    assert [(row.idx, row.label, row.predict, row.radius, row.correct) for row in rows] == [
        (0, 7, 7, 0.953, True),
        (20, 9, -1, 0.0, False),
        (40, 1, 2, 0.12, False),
    ]
    assert [row.seconds for row in rows] == pytest.approx([0.293841, 0, 62.5])
    assert [row.abstained for row in rows] == [False, True, False]
    assert all(row.evidence is None for row in rows)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:00:01", 1), ("12:00:00.5", 43200.5), ("1 day, 1:00:00.25", 90000.25), ("0.293", 0.293), ("17", 17)],
)
def test_times_are_read_with_and_without_fraction_and_as_plain_seconds(text: str, seconds: float) -> None:
    (row,) = parse_log(f"3\t1\t1\t0.5\t1\t{text}\n", "log").rows
    assert row.seconds == pytest.approx(seconds)


def test_header_and_tabs_are_optional_and_blank_lines_skipped() -> None:
    spaced = "\n0 7   7 0.953 1 0:00:00.29\r\n\n20  9 -1 0.0 0 0:00:00"
    rows = parse_log(spaced, "log").rows
    assert [(row.idx, row.predict, row.radius) for row in rows] == [(0, 7, 0.953), (20, -1, 0.0)]


def test_columns_are_found_by_their_names() -> None:
    (row,) = parse_log("idx label predict correct radius extra time\n5 1 1 1 0.25 x 0:00:01\n", "log").rows
    assert (row.idx, row.radius, row.correct, row.seconds) == (5, 0.25, True, 1)


@pytest.mark.parametrize("text", ["", "\n", "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"])
def test_a_log_without_rows_is_valid(text: str) -> None:
    assert parse_log(text, "log").rows == ()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0\t7\t7\t0.9\t1", "5 columns where there should be 6"),
        ("x\t7\t7\t0.9\t1\t0:00:01", "idx is 'x', not a whole number"),
        ("0\t7\t7\tnan\t1\t0:00:01", "radius is 'nan', not a finite number"),
        ("0\t7\t7\t-0.5\t1\t0:00:01", "radius is '-0.5'"),
        ("0\t7\t7\t0.5\t2\t0:00:01", "correct is '2', not 0 or 1"),
        ("0\t7\t7.5\t0.5\t1\t0:00:01", "predict is '7.5'"),
        ("0\t7\t7\t0.5\t1\tsoon", "time is 'soon', not H:MM:SS or seconds"),
    ],
)
def test_a_malformed_row_is_named_with_its_line_and_what_is_wrong(line: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_log(FIELD_LOG + line + "\n", "a.tsv")
    assert "a.tsv, line 5" in str(caught.value)
    assert complaint in str(caught.value)


def test_a_header_without_a_needed_column_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"line 1: the header has no column correct"):
        parse_log("idx label predict radius time\n", "a.tsv")


def test_written_rows_are_read_back() -> None:
    rows = (a_row(), a_row(idx=20, predict=-1, radius=0.0, correct=False))
    assert parse_log(as_text(*rows), "log").rows == rows


@given(st.floats(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_rounding_never_claims_more(radius: float, p_lower: float, p_upper: float) -> None:
    evidence = Evidence(100, 1000, 0.001, 0.5, "runner_up", p_lower, p_upper, (1,), "ab")
    line = format_row(a_row(radius=radius, evidence=evidence)).split("\t")
    assert Decimal(line[3]) <= Decimal(radius)
    assert Decimal(line[11]) <= Decimal(p_lower)
    assert Decimal(line[12]) >= Decimal(p_upper)
    assert Decimal(radius) - Decimal(line[3]) < Decimal("1e-9")


@pytest.mark.parametrize("cut", [1, 5, 20, 40, 60])
def test_a_torn_last_line_of_a_log_with_evidence_is_left_out(cut: int) -> None:
    first, second = a_row(), a_row(idx=20)
    whole = as_text(first, second)
    torn = whole[: len(as_text(first)) + cut]
    log = parse_log(torn, "log")
    assert log.torn
    assert log.rows == (first,)


@given(st.text(alphabet="0123456789.-:e \tinfa,\n\r", max_size=80))
def test_any_text_is_a_log_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        rows = parse_log(text, "log").rows
        assert all(row.radius >= 0 and row.seconds >= 0 for row in rows)


def test_a_missing_log_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no\.tsv can't be read: No such file"):
        read_log(tmp_path / "no.tsv")


def test_a_binary_file_is_not_a_log(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InvalidRequest, match="isn't text"):
        read_log(tmp_path / "a.png")


def test_times_are_written_as_the_field_writes_them() -> None:
    assert [format_time(s) for s in (0.293841, 3.0, 90000.25)] == [
        "0:00:00.293841",
        "0:00:03.000000",
        "25:00:00.250000",
    ]
