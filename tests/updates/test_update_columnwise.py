"""Lines checked column by column end as the same rows do one by one: batches, rejects and counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import STATUSES, BodyFormat, UpdateKind
from airflow_provider_achieveit.updates import valid_rows
from airflow_provider_achieveit.updates.checks import InvalidValue
from airflow_provider_achieveit.updates.columnwise import Columnwise
from airflow_provider_achieveit.updates.encode import decimal_text, written
from airflow_provider_achieveit.updates.metric_values import check_metric_value
from airflow_provider_achieveit.updates.record import Checker
from airflow_provider_achieveit.updates.sources import Lines, Source, text_of_field
from airflow_provider_achieveit.updates.spool import OnDuplicate, prepare
from tests.depth import depth

PROGRESS, METRIC = UpdateKind.PROGRESS, UpdateKind.METRIC
ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def field_of(value: object) -> str:
    """As PostgreSQL writes a field."""
    return "\\N" if value is None else "".join(ESCAPES.get(char, char) for char in str(value))


def line_of(row: tuple[Any, ...]) -> str:
    return "\t".join(map(field_of, row)) + "\n"


def unread() -> Iterator[Any]:
    raise AssertionError("the rows were read, not the lines")
    yield


def with_lines(source: Source, rows: list[tuple[Any, ...]], readers: tuple[Any, ...], piece_rows: int) -> Source:
    def pour(take: Callable[[str], object]) -> None:
        for start in range(0, len(rows), piece_rows):
            take("".join(map(line_of, rows[start : start + piece_rows])))

    return replace(source, rows=unread(), lines=Lines(readers, pour))


def outcome(source: Source, checker: Checker, **options: Any) -> Any:
    with prepare(source, checker, kind=checker.kind, **options) as prepared:
        return (
            list(prepared.batches()),
            list(prepared.rejects()),
            [getattr(prepared, f"rows_{name}") for name in ("read", "valid", "invalid", "duplicate", "superseded")],
        )


# Mostly good, so that whole pieces are; the bad ones are bad in every way that a text, number or date can be.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
IDS = (
    st.sampled_from([f"KPI {n}" for n in range(30)])
    | TEXTS
    | st.sampled_from(["", " ", "a,b", "ExTernal", "a\tb", "\\N"])
)
INTEGER_IDS = st.integers(-(2**63), 2**63 - 1) | st.integers(1, 9)
DAYS = st.sampled_from([date(2026, 1, day) for day in range(1, 29)]) | st.dates() | st.none()
DAY_TEXTS = DAYS.map(lambda day: day and day.isoformat()) | st.sampled_from(
    ["1/6/2026", "soon", "infinity", " 2026-01-05"]
)
MOMENTS = st.datetimes() | st.none()
NUMBERS = (
    st.decimals(-(10**9), 10**9, places=2)
    | st.decimals()
    | st.none()
    | st.sampled_from([Decimal("-0.00"), Decimal("1E+3"), Decimal("0." + "0" * 120 + "1"), Decimal(10**101)])
)
NUMBER_TEXTS = (
    st.sampled_from(["1.50", "007", "+1", ".5", "5.", "-0", "-0.0", " 1", "1e3", "20%", "", "1,5", "٣"]) | TEXTS
)
FLOATS = st.floats() | st.floats(-100, 100) | st.none()
STATUS = st.sampled_from([*STATUSES, "on track", " At Risk ", "amber", "G", "", None, "A\\B"])
COMMENTS = (
    TEXTS
    | st.none()
    | st.sampled_from(['say "hi", twice', "a\r\nb", "\u2028", "tab\there", "back\\slash", "plain", " "])
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """The readers of the columns, and rows; most of them are good, so that whole pieces are."""
    ids, id_reader = draw(st.sampled_from([(IDS, str), (INTEGER_IDS, int), (NUMBERS, Decimal)]))
    values, value_reader = draw(
        st.sampled_from([(NUMBERS, Decimal), (NUMBER_TEXTS, str), (FLOATS, float), (INTEGER_IDS, int)])
    )
    days, day_reader = draw(
        st.sampled_from([(DAYS, date.fromisoformat), (DAY_TEXTS, str), (MOMENTS, datetime.fromisoformat)])
    )
    comments, comment_reader = draw(st.sampled_from([(COMMENTS, str), (NUMBERS, Decimal)]))
    fields = [comments, ids, st.none(), values, STATUS, days]
    digits = st.integers(1, 20).map(str)
    day = st.just("2026-01-05").map(day_reader)
    good = [st.none(), digits.map(id_reader), st.none(), digits.map(value_reader), st.just("At Risk"), day]
    odd_field = st.sampled_from([0, 1, 3, 4, 5]).flatmap(
        lambda odd: st.tuples(*[fields[at] if at == odd else field for at, field in enumerate(good)])
    )
    rows = st.lists(st.one_of(st.tuples(*good), odd_field, st.tuples(*fields)), max_size=60)
    return (comment_reader, id_reader, None, value_reader, str, day_reader), draw(rows)


ANY = (PROGRESS, BodyFormat.CSV, "fail", True, 5, 5)


@settings(max_examples=depth(300, short=50))
@given(
    tables(),
    st.sampled_from(UpdateKind),
    st.sampled_from(BodyFormat),
    st.sampled_from(get_args(OnDuplicate)),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 9),
)
@example(((str, str, None, str, str, str), [(None, "a", None, "1,5", "At Risk", "2026-01-05")]), *ANY)
@example(((str, str, None, str, str, str), [(None, "a b", None, "", "At Risk", "2026-01-05")] * 2), *ANY)
def test_lines_end_as_rows_do(
    table: tuple[tuple[Any, ...], list[tuple[Any, ...]]],
    kind: UpdateKind,
    body_format: BodyFormat,
    on_duplicate: OnDuplicate,
    ordered: bool,
    piece_rows: int,
    batch_size: int,
) -> None:
    readers, rows = table
    columns = {"external_id": "kpi", "metric_value": "value", "as_of_date": "day", "comment": "note"}
    names = ("note", "kpi", "unread", "value", "rag", "day")
    if kind is PROGRESS:
        columns["status"] = "rag"
    source = Source("x", names, iter([dict(zip(names, row, strict=True)) for row in rows]), ordered)
    checker = Checker(kind, columns, status_map={"G": "On Track"}, extra_statuses=['On "hold", waiting'])
    options: dict[str, Any] = {"body_format": body_format, "on_duplicate": on_duplicate, "batch_size": batch_size}
    by_lines = outcome(with_lines(source, rows, readers, piece_rows), checker, **options)
    assert by_lines == outcome(source, checker, **options)


def good_row(number: int) -> tuple[Any, ...]:
    chance = random.Random(number)
    comment = chance.choice([None, "steady", 'so, "so"', "über\nlegt"])
    return f"KPI {chance.random()}", STATUSES[number % 7], Decimal(number) / 8, date(2026, 1, 1 + number % 28), comment


NAMES = ("external_id", "status", "metric_value", "as_of_date", "comment")
READERS = (str, str, Decimal, date.fromisoformat, str)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("every", [3000, 700, 30])
def test_many_rows_some_of_them_bad(every: int, ordered: bool) -> None:
    rows = [good_row(number) for number in range(5000)]
    for at in range(every // 2, len(rows), every):
        rows[at] = [("a,b", *rows[at][1:]), (*rows[at][:3], None, ""), rows[at - 9]][at % 3]
    source = Source("x", NAMES, iter([dict(zip(NAMES, row, strict=True)) for row in rows]), ordered)
    checker = Checker(PROGRESS)
    by_lines = outcome(with_lines(source, rows, READERS, 1111), checker, batch_size=900)
    assert by_lines == outcome(source, checker, batch_size=900)
    assert by_lines[2][2] >= len(range(every // 2, len(rows), every)) > 0


def test_good_rows_are_not_looked_at_one_by_one() -> None:
    rows = [good_row(number) for number in range(500)]
    rows[123] = ("external", *rows[123][1:])
    columnwise = Columnwise(Checker(PROGRESS), NAMES, Lines(READERS, unread))
    pieces = list(columnwise.pieces("".join(map(line_of, rows))))
    assert sum(count for count, _, _ in pieces) == 500
    singles = [row for _, columns, single in pieces for row in single if columns is None]
    assert len(singles) <= 16
    assert dict(zip(NAMES, rows[123], strict=True)) in singles


def test_a_type_that_is_not_understood_is_read_as_rows() -> None:
    rows = [("a", "On Track", Decimal(1), date(2026, 1, 5), "x")]
    source = Source("x", NAMES, iter([dict(zip(NAMES, row, strict=True)) for row in rows]))
    lines = Lines((str, str, None, date.fromisoformat, str), unread)
    batches, _, _ = outcome(replace(source, lines=lines), Checker(PROGRESS))
    assert [batch.rows for batch in batches] == [1]


def test_lines_that_are_torn() -> None:
    source = Source("x", NAMES, unread(), lines=Lines(READERS, lambda take: take("a\tOn Track\n")))
    with pytest.raises(ValueError, match="gave 2 fields in 1 rows of 5"):
        outcome(source, Checker(PROGRESS))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_fields(text: str) -> None:
    assert text_of_field(field_of(text)) == text
    assert text_of_field(field_of(None)) is None


@given(
    st.from_regex(
        r"-?[0-9]{1,4}(\.[0-9]{1,4})?|-?0\.0{85,95}[0-9]{1,12}|-?[0-9]{88,102}(\.[0-9]{1,3})?", fullmatch=True
    )
)
def test_numbers_that_are_taken_as_they_are(text: str) -> None:
    """What the column's pattern lets through is exactly what the check of one value would write."""
    checker = Checker(METRIC, {"external_id": "a", "metric_value": "b", "as_of_date": "c"})
    columnwise = Columnwise(checker, ("a", "b", "c"), Lines((str, Decimal, str), unread))
    ((_, columns, _),) = columnwise.pieces(f"id\t{text}\t2026-01-05\n")
    try:
        number = check_metric_value(Decimal(text))
    except InvalidValue:
        assert columns is None
    else:
        assert number is not None
        assert columns is not None
        assert columns[2] == [decimal_text(number)] == [written(number)]


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_on_disk_in_many_runs(ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of runs, and texts longer than a block."""
    from airflow_provider_achieveit.updates import sorting

    monkeypatch.setattr(sorting, "_RUN_BYTES", 500)
    monkeypatch.setattr(sorting, "_RUNS", 3)
    monkeypatch.setattr(sorting, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(valid_rows, "_DROP_ROWS", 7)
    chance = random.Random(5)
    rows = [(f"Größe {chance.randrange(300)}", f"2026-01-{chance.randrange(1, 29):02}") for _ in range(1000)]
    valid = valid_rows.ValidRows(ordered)
    for start in range(0, len(rows), 10):
        ids, days = zip(*rows[start : start + 10], strict=True)
        valid.add(ids, days, [f"{key},{day}" for key, day in rows[start : start + 10]], range(start + 1, start + 11))
    twins = set(valid.settle())
    assert twins == {(n, *row) for n, row in enumerate(rows, 1) if rows.count(row) > 1}
    expected = list(enumerate(rows, 1)) if ordered else sorted(enumerate(rows, 1), key=lambda each: each[::-1])
    assert on_disk(valid) == expected
    leaving = {number for number, *_ in twins if number % 2}
    valid.drop(number for number, _ in expected if number in leaving)
    assert len(leaving) > 10
    assert on_disk(valid) == [each for each in expected if each[0] not in leaving]
    valid.close()


def on_disk(valid: valid_rows.ValidRows) -> list[tuple[int, tuple[str, ...]]]:
    """All rows with their numbers; those of batches of one row are told exactly, of others as a range."""
    told = []
    for (lines, rows, first, last), single in zip(valid.batches(1), valid.batches(1), strict=True):
        assert (rows, first) == (1, last)
        assert single[0] == lines
        told.append((first, tuple(lines.decode().removesuffix("\n").split(","))))
    numbers = [number for number, _ in told]
    pieces = [numbers[at : at + 13] for at in range(0, len(numbers), 13)]
    assert [batch[1:] for batch in valid.batches(13)] == [(len(piece), min(piece), max(piece)) for piece in pieces]
    return told
