"""All rows checked before the first batch: counts that add up, duplicates, flat memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.contract import STATUSES, BodyFormat, UpdateKind
from airflow_provider_achieveit.updates.record import Checker, Record
from airflow_provider_achieveit.updates.sources import Source
from airflow_provider_achieveit.updates.sources.rows import read_rows
from airflow_provider_achieveit.updates.spool import OnDuplicate, Prepared, check_batch_options, prepare
from tests.updates.encoding import encode

PROGRESS = UpdateKind.PROGRESS


def update(external_id: Any = "a", day: Any = "2026-01-05", **more: Any) -> dict[str, Any]:
    return {"external_id": external_id, "status": "On Track", "metric_value": "1.50", "as_of_date": day, **more}


def prepared(rows: Any, **options: Any) -> Prepared:
    return prepare(read_rows(rows), Checker(PROGRESS), kind=PROGRESS, **options)


def counts(result: Prepared) -> tuple[int, ...]:
    assert result.rows_read == result.rows_valid + result.rows_rejected
    assert result.rows_rejected == result.rows_invalid + result.rows_superseded
    return result.rows_read, result.rows_valid, result.rows_invalid, result.rows_superseded, result.rows_duplicate


def test_batches() -> None:
    rows = [update(f"kpi {number}") for number in range(1, 8)]
    with prepared(rows, batch_size=3) as result:
        assert counts(result) == (7, 7, 0, 0, 0)
        batches = list(result.batches())
        assert [(batch.number, batch.rows, batch.first_row, batch.last_row) for batch in batches] == [
            (1, 3, 1, 3),
            (2, 3, 4, 6),
            (3, 1, 7, 7),
        ]
        assert [batch.sha256 for batch in batches] == [sha256(batch.body).hexdigest() for batch in batches]
        records = [Record(f"kpi {n}", "On Track", Decimal("1.50"), date(2026, 1, 5), None) for n in range(1, 8)]
        assert [batch.body for batch in batches] == [
            encode(records[at : at + 3], PROGRESS, BodyFormat.CSV) for at in (0, 3, 6)
        ]
        assert list(result.batches()) == batches
        assert list(result.rejects()) == []


@pytest.mark.parametrize(("body_format", "header"), [("csv", False), ("json", True)])
def test_batches_in_the_other_forms(body_format: str, header: bool) -> None:
    record = Record("a", "On Track", Decimal("1.50"), date(2026, 1, 5), "Größe\n")
    with prepared([update(comment="Größe\n")], body_format=BodyFormat(body_format), header=header) as result:
        (batch,) = result.batches()
    assert batch.body == encode([record], PROGRESS, BodyFormat(body_format), header)


def test_an_order_that_nobody_promised_makes_no_other_batches() -> None:
    rows = [update(f"kpi {item}", f"2026-01-0{day}") for item in range(1, 4) for day in (5, 6)]
    told = []
    for order in ([0, 1, 2, 3, 4, 5], [5, 0, 3, 1, 4, 2]):
        source = Source("x", None, (rows[at] for at in order), ordered=False)
        with prepare(source, Checker(PROGRESS), kind=PROGRESS, batch_size=4) as result:
            told.append([(batch.sha256, batch.first_row, batch.last_row) for batch in result.batches()])
    in_order, shuffled = told
    assert [rows[1:] for rows in in_order] == [(1, 4), (5, 6)]
    assert [rows[1:] for rows in shuffled] == [(2, 6), (1, 5)]
    assert [sha for sha, *_ in in_order] == [sha for sha, *_ in shuffled]


@pytest.mark.parametrize(("keep", "kept"), [("fail", [6]), ("first", [2, 1, 6]), ("last", [4, 5, 6])])
def test_duplicates_without_an_order(keep: Any, kept: list[int]) -> None:
    rows = [update(external_id, "2026-01-05") for external_id in "babab"] + [update("c")]
    with prepare(
        Source("x", None, iter(rows), ordered=False), Checker(PROGRESS), kind=PROGRESS, batch_size=1, on_duplicate=keep
    ) as result:
        assert [batch.first_row for batch in result.batches()] == kept
        assert [reject.row for reject in result.rejects()] == sorted({1, 2, 3, 4, 5, 6} - set(kept))


def test_an_order_of_the_source_is_kept() -> None:
    with prepared([update("b"), update("a")]) as result:
        (batch,) = result.batches()
    assert batch.body.index(b"b,On Track") < batch.body.index(b"a,On Track")


def test_the_comment_column_is_a_matter_of_the_batch() -> None:
    with prepared([update("a", comment="x"), update("b")], batch_size=1) as result:
        assert [b"Comment" in batch.body for batch in result.batches()] == [True, False]


def test_no_rows() -> None:
    with prepared([]) as result:
        assert counts(result) == (0, 0, 0, 0, 0)
        assert list(result.batches()) == []


def test_a_row_with_two_bad_columns_counts_once() -> None:
    rows = [update(), update("a,b", "someday"), update("c"), {}]
    with prepared(rows) as result:
        assert counts(result) == (4, 2, 2, 0, 0)
        assert [(reject.row, reject.column) for reject in result.rejects()] == [
            (2, "external_id"),
            (2, "as_of_date"),
            (4, "external_id"),
            (4, "status"),
            (4, "as_of_date"),
        ]
        (batch,) = result.batches()
        assert (batch.rows, batch.first_row, batch.last_row) == (2, 1, 3)


def test_duplicates_fail() -> None:
    rows = [update("a"), update("b"), update("a", "01/05/2026"), update("a", "2026-01-06"), update("b,"), update("b,")]
    with prepared(rows) as result:
        assert counts(result) == (6, 2, 4, 0, 2)
        told = [reject for reject in result.rejects() if reject.row in (1, 3)]
        assert [(reject.row, reject.column, reject.value) for reject in told] == [
            (1, "external_id", "a"),
            (3, "external_id", "a"),
        ]
        assert told[0].reason.startswith("the same external id and as-of date 2026-01-05 as row 3; ")
        assert told[1].reason.startswith("the same external id and as-of date 2026-01-05 as row 1; ")
        assert [batch.rows for batch in result.batches()] == [2]


def test_many_duplicates_are_counted_not_listed() -> None:
    with prepared([update("a")] * 40) as result:
        assert counts(result) == (40, 0, 40, 0, 40)
        reasons = [reject.reason for reject in result.rejects()]
        assert " as rows 2, 3, 4, 5, 6 and 34 more; " in reasons[0]
        assert " as rows 1, 2, 3, 4, 5, 6 and 33 more; " in reasons[39]


@pytest.mark.parametrize(("keep", "kept", "status"), [("last", 4, b"Achieved"), ("first", 1, b"On Track")])
def test_duplicates_give_way(keep: str, kept: int, status: bytes) -> None:
    rows = [update("a"), update("b"), update("a", status="At Risk"), update("a", status="Achieved")]
    with prepared(rows, on_duplicate=keep) as result:
        assert counts(result) == (4, 2, 0, 2, 0)
        rejects = list(result.rejects())
        assert {reject.row for reject in rejects} == {1, 3, 4} - {kept}
        assert all(reject.reason.startswith(f"superseded by row {kept}, ") for reject in rejects)
        (batch,) = result.batches()
        assert b"\na," + status in batch.body


COLUMNS = ("external_id", "status", "metric_value", "as_of_date")
VALUES = st.fixed_dictionaries(
    {
        "external_id": st.sampled_from(["a", "b", "c", "x,y", None]),
        "status": st.sampled_from(["on track", "At Risk", "amber", ""]),
        "metric_value": st.sampled_from([1, Decimal("0.5"), "2%", None]),
        "as_of_date": st.sampled_from(["2026-01-05", date(2026, 1, 5), "1/6/2026", "soon"]),
    }
)


@given(
    st.lists(VALUES, max_size=30),
    st.integers(1, 7),
    st.sampled_from(get_args(OnDuplicate)),
    st.sampled_from(BodyFormat),
)
def test_every_row_ends_in_one_bucket(
    rows: list[dict[str, Any]], batch_size: int, on_duplicate: OnDuplicate, body_format: BodyFormat
) -> None:
    checker = Checker(PROGRESS)
    valid: dict[int, Record] = {}
    for number, row in enumerate(rows, start=1):
        checked = checker.check(number, row)
        if isinstance(checked, Record):
            valid[number] = checked
    groups: dict[tuple[str, date], list[int]] = {}
    for number, record in valid.items():
        groups.setdefault((record.external_id, record.as_of_date), []).append(number)
    place = {"fail": None, "last": -1, "first": 0}[on_duplicate]
    going = {
        number
        for group in groups.values()
        for number in (group if len(group) == 1 else [] if place is None else [group[place]])
    }
    options: dict[str, Any] = {"batch_size": batch_size, "on_duplicate": on_duplicate, "body_format": body_format}
    with prepare(Source("x", COLUMNS, iter(rows)), checker, kind=PROGRESS, **options) as result:
        read, kept, invalid, superseded, duplicate = counts(result)
        assert (read, kept) == (len(rows), len(going))
        assert {reject.row for reject in result.rejects()} == set(range(1, len(rows) + 1)) - going
        assert invalid - duplicate == len(rows) - len(valid)
        assert superseded + duplicate == len(valid) - len(going)
        batches = list(result.batches())
    assert sum(batch.rows for batch in batches) == kept
    records = [valid[number] for number in sorted(going)]
    pieces = [records[at : at + batch_size] for at in range(0, len(records), batch_size)]
    assert [batch.body for batch in batches] == [encode(piece, PROGRESS, body_format) for piece in pieces]


@pytest.mark.parametrize("kind_of_rows", [list, iter])
def test_a_column_that_no_row_has(kind_of_rows: Any) -> None:
    checker = Checker(PROGRESS, {"external_id": "kpi", "status": "status", "as_of_date": "day", "comment": "nots"})
    rows = [{"kpi": 1, "status": "Achieved", "day": "2026-01-05"}, {"kpi": 2, "notes": "x"}]
    with pytest.raises(ValueError, match=r"no column 'nots' .*did you mean 'notes'\?.*rows has the columns 'kpi'"):
        prepare(read_rows(kind_of_rows(rows)), checker, kind=PROGRESS)


def test_a_column_that_only_a_late_row_has() -> None:
    with prepared([update("a"), update("b", comment="late")]) as result:
        (batch,) = result.batches()
    assert batch.body.endswith(b"b,On Track,1.50,2026-01-05,late")


class Watched:
    """Rows that tell whether they were let go of."""

    def __init__(self, rows: list[Any]) -> None:
        self.closed = False
        self.read = 0
        self._rows = rows

    def stream(self) -> Iterator[Mapping[str, Any]]:
        try:
            for row in self._rows:
                self.read += 1
                yield row
        finally:
            self.closed = True


def test_columns_are_checked_before_any_row_is_read() -> None:
    watched = Watched([{"id": 1}])
    with pytest.raises(ValueError, match="no column 'external_id'"):
        prepare(Source("the query", ("id",), watched.stream()), Checker(PROGRESS), kind=PROGRESS)
    assert watched.read == 0


def test_the_source_is_let_go_of_when_a_row_breaks() -> None:
    watched = Watched([update("a"), None, update("b")])
    with pytest.raises(AttributeError):
        prepare(Source("x", None, watched.stream()), Checker(PROGRESS), kind=PROGRESS)
    assert (watched.read, watched.closed) == (2, True)


@pytest.mark.parametrize(
    ("batch_size", "on_duplicate", "message"),
    [
        (0, "fail", "batch_size=0: it must be"),
        (-1, "last", "batch_size"),
        (1.5, "last", "batch_size"),
        (True, "last", "batch_size"),
        ("5", "last", "batch_size"),
        (5, "newest", "on_duplicate='newest': it must be one of fail, last, first"),
    ],
)
def test_options_refused(batch_size: Any, on_duplicate: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_batch_options(batch_size, on_duplicate)
    with pytest.raises(ValueError, match=message):
        prepared([], batch_size=batch_size, on_duplicate=on_duplicate)


def test_the_kinds_must_agree() -> None:
    with pytest.raises(ValueError, match="checks progress updates, not metric updates"):
        prepare(read_rows([]), Checker(PROGRESS), kind=UpdateKind.METRIC)


def many(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(7)
    for number in range(count):
        yield {
            "external_id": f"KPI-{number // 28:06d}",
            "status": STATUSES[number % 7] if chance.random() > 0.01 else "amber",
            "metric_value": Decimal(number) / 100,
            "as_of_date": date(2026, 1, 1) + timedelta(days=number % 28),
            "comment": None if number % 10 else f"note {number}",
        }


def peak(count: int) -> int:
    """Bytes of Python memory at the highest point; SQLite's own cache has a fixed limit."""
    tracemalloc.start()
    with prepared(many(count), batch_size=1000) as result:
        assert sum(batch.rows for batch in result.batches()) == result.rows_valid
        assert sum(1 for _ in result.rejects()) == result.rows_invalid > count // 200
        counts(result)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def test_memory_is_flat() -> None:
    peak(1000)  # caches fill
    assert peak(60_000) < 2 * peak(6_000)  # would be tenfold if rows were kept


def test_rejects_and_json_survive_awkward_values() -> None:
    rows = [update("a\udcff\0", comment="x"), update("b", comment="\u2028\n\"'👩‍🚒\x07")]
    with prepared(rows, body_format=BodyFormat.JSON) as result:
        (reject,) = result.rejects()
        assert reject.value == "a\\udcff\0"
        (batch,) = result.batches()
    assert json.loads(batch.body)[0]["comment"] == "\u2028\n\"'👩‍🚒\x07"
