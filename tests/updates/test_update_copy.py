"""Lines from a real PostgreSQL: their text means what the values of an ordinary cursor are, over both drivers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.updates.record import Checker
from airflow_provider_achieveit.updates.sources import Source, text_of_field
from airflow_provider_achieveit.updates.sources.copy import copied
from airflow_provider_achieveit.updates.sources.sql import read_query
from airflow_provider_achieveit.updates.spool import prepare
from tests.postgres import POSTGRES_URL

PROGRESS = UpdateKind.PROGRESS


@pytest.fixture(params=["psycopg2", "psycopg"])
def connection(request: pytest.FixtureRequest, postgres: Any) -> Iterator[Any]:
    if request.param == "psycopg2":
        yield postgres
    else:
        with closing(pytest.importorskip("psycopg").connect(POSTGRES_URL)) as connection:
            yield connection


def lines_of(connection: Any, sql: str, parameters: Any = None) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns, and the rows that the lines stand for."""
    found = copied(connection, sql, parameters)
    assert found is not None
    names, lines = found
    told: list[str] = []
    lines.pour(told.append)
    rows = []
    for line in "".join(told).split("\n")[:-1]:
        texts = map(text_of_field, line.split("\t"))
        rows.append(
            tuple(
                text if text is None or read is None else read(text)
                for text, read in zip(texts, lines.readers, strict=True)
            )
        )
    return names, rows


def execute(connection: Any, sql: str) -> None:
    with closing(connection.cursor()) as cursor:
        cursor.execute(sql)


def rows_of(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    with closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]


TEXT = """E'Größe 🚀 \\t\\n\\r\\b\\f\\v\\\\ \\\\N ,"'''"""
SAME_VALUES = {
    "text": (TEXT, "''", "' '", "NULL", "'\\N'", "'\\.'", "E'\\x01\\x7f\\u2028'"),
    "varchar(5)": ("'abc'", "NULL"),
    "char(5)": ("'abc'", "NULL"),
    "smallint": ("-32768", "0"),
    "integer": ("2147483647", "NULL"),
    "bigint": ("-9223372036854775808", "9007199254740993"),
    "numeric": ("1E+5", "-0.00", "1.50", "'NaN'", "1E-12", "12345678901234567890.123456789", "1e50", "-0.5", "NULL"),
    "numeric(18,2)": ("1", "0", "-0.01"),
    "real": ("0.1", "1e20", "'NaN'", "'-Infinity'", "'-0'", "16777216", "NULL"),
    "double precision": ("0.1", "1e22", "1e-7", "'Infinity'", "123456789.125", "5e-324", "100", "NULL"),
    "date": ("'2026-01-05'", "'0001-01-01'", "'9999-12-31'", "NULL"),
    "timestamp": ("'2026-01-05 23:30'", "'2026-01-05 23:30:00.5'", "'0001-01-01'", "'9999-12-31 23:59:59.999999'"),
    "timestamptz": ("'2026-01-05 23:30+00'", "'1890-01-05 23:30:00.000001+00'", "NULL"),
}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize("sql_type", SAME_VALUES)
def test_values_are_those_of_a_cursor(connection: Any, sql_type: str, zone: str) -> None:
    execute(connection, f"SET TimeZone TO '{zone}'")
    values = ", ".join(f"({number}, CAST({value} AS {sql_type}))" for number, value in enumerate(SAME_VALUES[sql_type]))
    sql = f"SELECT value FROM (VALUES {values}) AS value (number, value) ORDER BY number"
    (name,), rows = lines_of(connection, sql)
    assert name == "value"
    # As text, because NaN differs from itself; with the type, because 1.0 does not differ from 1.
    assert [repr(row) for row in rows_in_utc(rows)] == [repr(row) for row in rows_in_utc(rows_of(connection, sql))]


def rows_in_utc(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    from datetime import UTC, datetime

    return [
        tuple(
            value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value
            for value in row
        )
        for row in rows
    ]


def test_a_uuid_is_its_text(connection: Any) -> None:
    text = "ce0eced5-b1b9-4504-8ba9-87a476bb0f87"
    assert lines_of(connection, f"SELECT '{text.upper()}'::uuid AS a")[1] == [(text,)]


@pytest.mark.parametrize("value", ["true", "'{}'::json", "'x'::bytea", "ARRAY[1]", "'1 day'::interval", "'x'::name"])
def test_other_types_are_left_to_the_cursor(connection: Any, value: str) -> None:
    sql = f"SELECT 'a' AS external_id, 'On Track' AS status, DATE '2026-01-05' AS as_of_date, {value} AS comment"
    found = copied(connection, sql, None)
    assert found is not None
    assert [read is None for read in found[1].readers] == [False, False, False, True]
    source = replace(read_query(connection, sql), lines=replace(found[1], pour=never))
    with prepare(source, Checker(PROGRESS), kind=PROGRESS) as prepared:
        assert prepared.rows_read == 1


def never(take: object) -> None:
    raise AssertionError("the lines were read")


DAYS = ("infinity", "-infinity", "0044-03-15 BC", "12026-01-05")


@pytest.mark.parametrize("sql_type", ["date", "timestamp", "timestamptz"])
def test_days_that_python_has_not_are_rejects(connection: Any, sql_type: str) -> None:
    values = ", ".join(f"({number}, '{day}'::{sql_type})" for number, day in enumerate(["2026-01-05", *DAYS]))
    fields = "number AS external_id, 'At Risk' AS status, day AS as_of_date"
    sql = f"SELECT {fields} FROM (VALUES {values}) AS v (number, day)"
    with prepare(read_query(connection, sql), Checker(PROGRESS), kind=PROGRESS) as prepared:
        assert (prepared.rows_read, prepared.rows_invalid) == (5, 4)
        told = list(prepared.rejects())
    assert [reject.value.split()[0] for reject in told] == [day.split()[0] for day in DAYS]
    assert all(reject.column == "as_of_date" and "no such day" in reject.reason for reject in told)


@pytest.mark.parametrize("sql_type", SAME_VALUES)
def test_metric_values_of_lines_are_written_as_those_of_rows(connection: Any, sql_type: str) -> None:
    values = ", ".join(f"({number}, CAST({value} AS {sql_type}))" for number, value in enumerate(SAME_VALUES[sql_type]))
    fields = "number AS external_id, DATE '2026-01-05' AS as_of_date, value AS metric_value"
    sql = f"SELECT {fields} FROM (VALUES {values}) AS v (number, value) ORDER BY number"
    outcomes = []
    for source in (read_query(connection, sql), replace(read_query(connection, sql), lines=None)):
        with prepare(source, Checker(UpdateKind.METRIC), kind=UpdateKind.METRIC, batch_size=1) as prepared:
            outcomes.append(([batch.body for batch in prepared.batches()], list(prepared.rejects())))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("value", "written"), [("100", b"100.0"), ("0.1", b"0.1"), ("-0.5", b"-0.5"), ("-0", b"0.0")])
@pytest.mark.parametrize("sql_type", ["real", "double precision"])
def test_floats(connection: Any, sql_type: str, value: str, written: bytes) -> None:
    sql = f"SELECT 'a' AS external_id, DATE '2026-01-05' AS as_of_date, '{value}'::{sql_type} AS metric_value"
    for lines in (True, False):
        source = read_query(connection, sql)
        with prepare(
            source if lines else replace(source, lines=None), Checker(UpdateKind.METRIC), kind=UpdateKind.METRIC
        ) as prepared:
            (batch,) = prepared.batches()
        assert batch.body.split(b",")[-2:] == [written, b"2026-01-05"]


TABLE = """
    SELECT 'KPI ' || number AS kpi, CASE number % 50 WHEN 7 THEN 'amber' ELSE 'at risk' END AS rag,
           (number / 8.0)::numeric(20, 3) AS value, DATE '2026-01-05' + number % 28 AS day, number AS unread,
           CASE number % 3 WHEN 0 THEN E'say "hi",\\nthen leave' WHEN 1 THEN 'steady' END AS note
    FROM generate_series(1, 3000) AS number
"""
COLUMNS = {"external_id": "kpi", "status": "rag", "metric_value": "value", "as_of_date": "day", "comment": "note"}


@pytest.mark.parametrize("order", ["", "ORDER BY number DESC"])
@pytest.mark.parametrize("autocommit", [False, True])
def test_lines_end_as_rows_do(connection: Any, autocommit: bool, order: str) -> None:
    connection.autocommit = autocommit
    outcomes = []
    for with_lines in (True, False):
        source = read_query(connection, f"{TABLE} {order}")
        assert source.lines is not None
        if not with_lines:
            source = replace(source, lines=None)
        with prepare(source, Checker(PROGRESS, COLUMNS), kind=PROGRESS, batch_size=700) as prepared:
            outcomes.append((list(prepared.batches()), list(prepared.rejects()), prepared.rows_valid))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == 2940


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("SELECT %s::text AS a, %s AS b", ("it's 5%", 5), [("it's 5%", 5)]),
        ("SELECT %(a)s::text AS a WHERE 'a' LIKE '%%'", {"a": "\\x"}, [("\\x",)]),
        ("SELECT '5%' AS a", None, [("5%",)]),
        ("SELECT 1 AS a -- the end", None, [(1,)]),
        ("SELECT 1 AS a ;\n ; ", None, [(1,)]),
        ("SELECT 1 AS a, 2 AS a, 3", None, [(1, 2, 3)]),
        ("WITH x AS (SELECT 1) TABLE x", None, [(1,)]),
        ("VALUES (1), (2)", None, [(1,), (2,)]),
        ("SELECT 1 AS a WHERE false", None, []),
    ],
)
def test_statements(connection: Any, autocommit: bool, sql: str, parameters: Any, expected: list[Any]) -> None:
    connection.autocommit = autocommit
    assert lines_of(connection, sql, parameters)[1] == expected


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS a; SELECT 2 AS a",
        "SELECT * FROM no_such_table",
        "CREATE TEMPORARY TABLE never (a int)",
        "WITH x AS (DELETE FROM kept RETURNING a) SELECT a FROM x",
        "SELECT 1 AS a; -- the end",
        "SHOW search_path",
    ],
)
def test_statements_left_to_the_cursor(connection: Any, autocommit: bool, sql: str) -> None:
    connection.autocommit = autocommit
    execute(connection, "CREATE TEMPORARY TABLE kept AS SELECT 1 AS a")
    execute(connection, "SET application_name TO 'before'")
    assert copied(connection, sql, None) is None
    # Whatever was done on the connection before still holds.
    assert rows_of(connection, "SELECT a, current_setting('application_name') FROM kept") == [(1, "before")]


def test_dates_in_another_form_are_left_to_the_cursor(connection: Any) -> None:
    execute(connection, "SET DateStyle TO 'German'")
    assert copied(connection, "SELECT DATE '2026-01-05' AS a", None) is None


def test_another_encoding_of_the_session(connection: Any) -> None:
    # psycopg2 takes no notice of a SET.
    set_encoding = getattr(connection, "set_client_encoding", None) or (
        lambda name: execute(connection, f"SET client_encoding TO '{name}'")
    )
    set_encoding("LATIN1")
    assert lines_of(connection, "SELECT 'Größe ' || chr(8364) AS a WHERE 'ö' = %s", ("ö",))[1] == [("Größe €",)]


@pytest.mark.parametrize("autocommit", [False, True])
def test_an_error_in_the_middle_is_the_database_s(connection: Any, autocommit: bool) -> None:
    connection.autocommit = autocommit
    sql = "SELECT 'a' AS external_id, 'At Risk' AS status, DATE '2026-01-05' + 1 / (9000 - n) AS as_of_date "
    source = read_query(connection, f"{sql} FROM generate_series(1, 10000) AS n")
    with pytest.raises(Exception, match="division by zero") as raised:
        prepare(source, Checker(PROGRESS), kind=PROGRESS)
    assert type(raised.value).__name__ == "DivisionByZero"
    connection.rollback()
    assert rows_of(connection, "SELECT 1") == [(1,)]


def test_an_error_of_the_reader_is_told_as_it_is(connection: Any) -> None:
    found = copied(connection, "SELECT repeat('x', 1000) AS a FROM generate_series(1, 1000)", None)
    assert found is not None
    calls = []

    def take(lines: str) -> None:
        calls.append(lines)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        found[1].pour(take)
    assert len(calls) == 1


@pytest.mark.parametrize("autocommit", [False, True])
def test_no_workers_in_parallel(connection: Any, autocommit: bool) -> None:
    # They would bring rows that ORDER BY does not tell apart into another order in a retry, so into other batches.
    connection.autocommit = autocommit
    execute(connection, "SET max_parallel_workers_per_gather TO 2")
    assert lines_of(connection, "SELECT current_setting('max_parallel_workers_per_gather') AS a")[1] == [("0",)]


@pytest.mark.parametrize("number", [0.1, 3.0, -1e-300, float("inf"), float("nan")])
def test_parameters_mean_what_they_mean_to_a_cursor(connection: Any, number: float) -> None:
    sql = "SELECT 0.1::numeric * %s AS a, %s / 2 AS b, %s AS c, %s AS d"
    source = read_query(connection, sql, (number, number, 5, "x"))
    (row,) = source.rows
    assert [repr(value) for value in lines_of(connection, sql, (number, number, 5, "x"))[1][0]] == [
        repr(value) for value in row.values()
    ]


def test_a_signal_ends_the_wait_for_the_first_row(postgres: Any) -> None:
    def on_alarm(number: int, frame: object) -> None:
        raise TimeoutError("the task's time is up")

    # psycopg2 looks at no signal while it waits, with a cursor or without.
    with closing(pytest.importorskip("psycopg").connect(POSTGRES_URL)) as connection:
        found = copied(connection, "SELECT pg_sleep(6)::text AS a", None)
        assert found is not None
        before = signal.signal(signal.SIGALRM, on_alarm)
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(TimeoutError, match="time is up"):
                found[1].pour(never)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - began < 5


def test_a_statement_longer_than_what_a_socket_takes(connection: Any) -> None:
    text = "ö" * 3_000_000
    assert lines_of(connection, "SELECT length(%s) AS a", (text,))[1] == [(3_000_000,)]


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_limit_of_a_statement_s_time_is_one_for_some_rows_at_a_time(connection: Any, autocommit: bool) -> None:
    connection.autocommit = autocommit
    execute(connection, "SET statement_timeout TO 60000")
    assert copied(connection, "SELECT 1 AS a", None) is None
    assert next(read_query(connection, "SELECT 1 AS a").rows) == {"a": 1}


def test_a_query_without_columns_is_told_as_one(connection: Any) -> None:
    with pytest.raises(ValueError, match="the query has the columns \\(none\\)"):
        prepare(read_query(connection, "SELECT"), Checker(PROGRESS), kind=PROGRESS)


def test_a_row_longer_than_a_piece(connection: Any) -> None:
    _, rows = lines_of(connection, "SELECT repeat('ö', n) AS a FROM (VALUES (3), (1000000), (0), (400000)) AS v (n)")
    assert [len(text) for (text,) in rows] == [3, 1_000_000, 0, 400_000]


def test_a_row_longer_than_a_piece_is_sent(connection: Any) -> None:
    sql = "SELECT n AS external_id, 'At Risk' AS status, DATE '2026-01-05' AS as_of_date, repeat('ö', n) AS comment"
    source = read_query(connection, f"{sql} FROM (VALUES (3), (1000000), (4), (400000)) AS v (n)")
    with prepare(source, Checker(PROGRESS), kind=PROGRESS) as prepared:
        assert prepared.rows_valid == 4
        (batch,) = prepared.batches()
    assert len(batch.body) > 2_800_000


def test_lines_and_rows_of_the_same_source(connection: Any) -> None:
    source = read_query(connection, "SELECT 1 AS a, DATE '2026-01-05' AS b")
    assert source.lines is not None
    assert list(source.rows) == [{"a": 1, "b": date(2026, 1, 5)}]
    source.close()


def test_a_server_that_has_no_copy_to_a_client() -> None:
    class Info:
        server_version = 80002

    class Redshift:
        info = Info()

    Redshift.__module__ = "psycopg2.extensions"
    assert copied(Redshift(), "SELECT 1", None) is None
    assert isinstance(Source("x", None, iter(())), Source)
