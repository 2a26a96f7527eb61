"""Real DataFrames, files and databases as sources: values arrive as they left."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from collections import UserDict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.updates.record import Checker
from airflow_provider_achieveit.updates.sources import CHUNK_ROWS
from airflow_provider_achieveit.updates.sources.files import open_file
from airflow_provider_achieveit.updates.sources.rows import read_rows
from airflow_provider_achieveit.updates.sources.sql import read_query
from airflow_provider_achieveit.updates.spool import prepare

BIG = 2**53 + 1
EXACT = Decimal("12345678901234.5678")
AWKWARD = "Größe 🚀, \"said\"\r\nNone 'x'"


def typed(rows: Any) -> list[dict[str, tuple[type, Any]]]:
    return [{key: (type(value), value) for key, value in row.items()} for row in rows]


# --- Rows -------------------------------------------------------------------------------------------------------------


class LazyRows(Sequence[Any]):
    """A sequence that is neither list nor tuple, as Airflow's lazy results of mapped tasks are."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __getitem__(self, at: Any) -> Any:
        return self._rows[at]

    def __len__(self) -> int:
        return len(self._rows)


def test_mappings_as_they_are() -> None:
    rows = [{"a": BIG, "b": None}, UserDict({"a": EXACT})]
    stream = read_rows(iter(rows))
    assert (stream.columns, list(stream.rows)) == (None, rows)
    at_hand = read_rows(rows)
    assert (at_hand.columns, list(at_hand.rows)) == (("a", "b"), rows)
    assert read_rows([]).columns is None
    assert read_rows(tuple(rows)).columns == ("a", "b")
    lazy = read_rows(LazyRows(rows))
    assert (lazy.columns, list(lazy.rows)) == (("a", "b"), rows)


@pytest.mark.parametrize("rows", ["abc", b"abc", {"a": [1]}, 5, None], ids=repr)
def test_no_rows_at_all(rows: Any) -> None:
    with pytest.raises(TypeError, match="rows must be a list of mappings or a DataFrame, not a"):
        read_rows(rows)


def test_a_row_that_is_no_mapping() -> None:
    with pytest.raises(TypeError, match="row 2 must map column names to values, not be a tuple"):
        read_rows([{"a": 1}, ("a", 1)])
    with pytest.raises(TypeError, match="row 2 must map"):
        list(read_rows(iter([{"a": 1}, ("a", 1)])).rows)


def test_dataframe_columns_exactly() -> None:
    frame = pd.DataFrame(
        {
            "int": [BIG, -1],
            "uint": np.array([2**64 - 1, 0], dtype="uint64"),
            "nullable": pd.array([BIG, None], dtype="Int64"),
            "float": [0.1, None],
            "narrow": np.array([0.1, math.nan], dtype="float32"),
            "text": [AWKWARD, None],
            "string": pd.array(["None", None], dtype="string"),
            "decimal": pd.Series([EXACT, None], dtype="object"),
            "mixed": pd.Series([BIG, "x"], dtype="object"),
            "moment": [pd.Timestamp("2026-01-05 23:30", tz="UTC"), pd.NaT],
            "category": pd.Categorical(["On Track", None]),
            "flag": [True, False],
        }
    )
    frame.index = pd.Index([7, 7])
    source = read_rows(frame)
    assert source.columns == tuple(frame.columns)
    first, second = source.rows
    assert typed([first]) == [
        {
            "int": (int, BIG),
            "uint": (int, 2**64 - 1),
            "nullable": (int, BIG),
            "float": (float, 0.1),
            "narrow": (np.float32, np.float32(0.1)),
            "text": (str, AWKWARD),
            "string": (str, "None"),
            "decimal": (Decimal, EXACT),
            "mixed": (int, BIG),
            "moment": (pd.Timestamp, pd.Timestamp("2026-01-05 23:30", tz="UTC")),
            "category": (str, "On Track"),
            "flag": (bool, True),
        }
    ]
    assert second == {
        **dict.fromkeys(["nullable", "float", "narrow", "text", "string", "decimal", "moment", "category"]),
        "int": -1,
        "uint": 0,
        "mixed": "x",
        "flag": False,
    }


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("float16", np.float16),
        ("float32", np.float32),
        ("Float32", np.float32),
        (pd.ArrowDtype(pa.float16()), np.float16),
        (pd.ArrowDtype(pa.float32()), np.float32),
    ],
    ids=str,
)
def test_dataframe_narrow_floats_stay_narrow(dtype: Any, number: Any) -> None:
    frame = pd.DataFrame({"a": np.array([0.1, 0], "float16" if number is np.float16 else "float32")}).astype(dtype)
    frame.loc[1, "a"] = None
    assert typed(read_rows(frame).rows) == [{"a": (number, number(0.1))}, {"a": (type(None), None)}]


def test_dataframe_in_pieces_and_with_duplicate_columns() -> None:
    count = 2 * CHUNK_ROWS + 3
    frame = pd.DataFrame({"a": range(count)})
    assert [row["a"] for row in read_rows(frame).rows] == list(range(count))
    frame.columns = pd.Index([5])
    assert read_rows(frame).columns == ("5",)
    twice = pd.concat([frame, frame], axis=1)
    assert read_rows(twice).columns == ("5", "5")


# --- Files ------------------------------------------------------------------------------------------------------------


def test_csv_is_text(tmp_path: Path) -> None:
    path = tmp_path / "kpis.CSV"
    path.write_bytes(
        b'\xef\xbb\xbf"id",value,note\r\n007,1.50,"say ""hi"",\nx"\r\nNA, null ,None\r\n\r\n9007199254740993,,nan'
    )
    source = open_file(path)
    assert source.columns == ("id", "value", "note")
    assert list(source.rows) == [
        {"id": "007", "value": "1.50", "note": 'say "hi",\nx'},
        {"id": "NA", "value": " null ", "note": "None"},
        {"id": "9007199254740993", "value": "", "note": "nan"},
    ]


def test_csv_rows_of_another_width_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    wide = f"b,Achieved,2026-01-05,1,{'x' * 300}"
    path.write_text(
        f"external_id,status,as_of_date,comment\n{wide}\n\n  \nc,Achieved\nd\ne,Achieved,2026-01-05,\n,,,\n"
    )
    with prepare(open_file(path), Checker(UpdateKind.PROGRESS), kind=UpdateKind.PROGRESS) as prepared:
        assert (prepared.rows_read, prepared.rows_valid, prepared.rows_invalid) == (5, 1, 4)
        told = [(reject.row, reject.column, reject.value, reject.reason) for reject in prepared.rejects()]
        (batch,) = prepared.batches()
    assert told[:3] == [
        (1, "", wide[:199] + "…", "5 fields, the header has 4"),
        (2, "", "c,Achieved", "2 fields, the header has 4"),
        (3, "", "d", "1 field, the header has 4"),
    ]
    assert {row for row, *_ in told[3:]} == {5}
    assert batch.body.endswith(b"\ne,Achieved,,2026-01-05")


def test_csv_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    count = CHUNK_ROWS + 7
    path.write_text("n\n" + "".join(f"{number}\n" for number in range(count)))
    assert [row["n"] for row in open_file(path, "csv").rows] == [str(number) for number in range(count)]


def test_csv_with_duplicate_columns_is_told(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("external_id,metric_value,as_of_date,metric_value\na,1,2026-01-05,2\n")
    with pytest.raises(ValueError, match=r"'metric_value' .*is there 2 times.*twice\.csv has the columns"):
        prepare(open_file(path), Checker(UpdateKind.METRIC), kind=UpdateKind.METRIC)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\n", r"a\.csv: no CSV: the file is empty"),
        ("a.csv", b"\xef\xbb\xbf\n \n", r"a\.csv: no CSV: the file is empty"),
        ("a.csv", b'a,b\n"1\n",2\n1,"2\n3,4\n', r"a\.csv: no CSV: in the row that begins at line 4: unexpected end"),
        ("a.csv", b'a,b\n1,2\n1,"2"x\n', r"a\.csv: no CSV: in the row that begins at line 3: ',' expected"),
        ("a.csv", b"a,b\n1,\xff\n", r"a\.csv: no CSV in UTF-8: 'utf-8' codec.* Save it in UTF-8"),
        ("a.csv", b"KPI;Ampel\na;rot\n", r"a\.csv: one column only, 'KPI;Ampel': separate with commas, not with ';'"),
        ("a.csv", b"KPI\tAmpel\na\trot\n", r"one column only, .* not with '\\t'"),
        ("a.json", b"", r"a\.json: no JSON: Expecting value"),
        ("a.json", b'{"a": 1}', "JSON, but a dict; it must be an array of objects"),
        ("a.json", b'[{"a": 1}, 5]', "entry 2 is a int, not an object"),
        ("a.json", b'[{"a": NaN}]', "NaN is no JSON number"),
        ("a.json", b'[{"a": "\xff"}]', "no JSON: 'utf-8' codec"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a\.jsonl: line 2 is no JSON"),
        ("a.jsonl", b'{"a": 1}\n\n[1]\n', "line 3 is a list, not an object"),
        ("a.ndjson", b'{"a": Infinity}', "line 1 is no JSON: Infinity"),
        ("a.parquet", b"PAR1 no more", r"a\.parquet: no readable Parquet"),
        ("a.xlsx", b"", "'xlsx' is no format of a source file; known are csv, json, jsonl, ndjson, parquet"),
        ("noextension", b"", "'' is no format"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(open_file(path).rows)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_a_file_without_a_byte_has_no_rows(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert open_file(path).columns is None
    with prepare(open_file(path), Checker(UpdateKind.PROGRESS), kind=UpdateKind.PROGRESS) as prepared:
        assert (prepared.rows_read, list(prepared.batches())) == (0, [])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("a.csv", "a.json", "a.jsonl", "a.parquet"):
        with pytest.raises(FileNotFoundError, match=name):
            list(open_file(tmp_path / name).rows)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
def test_json_numbers_are_exact(tmp_path: Path, name: str) -> None:
    objects = [
        f'{{"id": {BIG}, "value": 0.123456789012345678, "note": {json.dumps(AWKWARD)}}}',
        '{"id": "x", "value": 0.90, "note": null}',
    ]
    path = tmp_path / name
    path.write_text(f"[{','.join(objects)}]" if name == "a.json" else "\ufeff" + "\n\n".join(objects))
    assert typed(open_file(path).rows) == [
        {"id": (int, BIG), "value": (Decimal, Decimal("0.123456789012345678")), "note": (str, AWKWARD)},
        {"id": (str, "x"), "value": (Decimal, Decimal("0.90")), "note": (type(None), None)},
    ]


def test_parquet_types(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([BIG, None], pa.int64()),
            "value": pa.array([EXACT, None], pa.decimal128(18, 4)),
            "float": pa.array([0.1, None], pa.float64()),
            "narrow": pa.array([0.1, None], pa.float32()),
            "day": pa.array([date(2026, 1, 5), None], pa.date32()),
            "moment": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "note": pa.array([AWKWARD, None]).dictionary_encode(),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    source = open_file(path)
    assert source.columns == tuple(table.column_names)
    first, second = source.rows
    assert first == {
        "id": BIG,
        "value": EXACT,
        "float": 0.1,
        "narrow": np.float32(0.1),
        "day": date(2026, 1, 5),
        "moment": moment,
        "note": AWKWARD,
    }
    assert [type(first[name]) for name in ("id", "value", "narrow")] == [int, Decimal, np.float32]
    assert math.isnan(second.pop("narrow"))
    assert set(second.values()) == {None}


class Airflow2Path:
    """A path whose files are no iterators, as those of Airflow 2's ObjectStoragePath."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name

    def open(self, mode: str) -> Any:
        return Airflow2File(self._path.open(mode))


class Airflow2File:
    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Airflow2File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet"])
def test_files_that_are_no_iterators(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("a\nx\ny\n")
    (tmp_path / "a.json").write_text('[{"a": "x"}, {"a": "y"}]')
    (tmp_path / "a.jsonl").write_text('{"a": "x"}\n{"a": "y"}\n')
    pq.write_table(pa.table({"a": ["x", "y"]}), tmp_path / "a.parquet")
    assert list(open_file(Airflow2Path(tmp_path / name)).rows) == [{"a": "x"}, {"a": "y"}]


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"install airflow-provider-achieveit\[parquet\]"):
        open_file(tmp_path / "a.parquet")


def test_files_are_closed(tmp_path: Path) -> None:
    """Read to the end or not: an open file would be a ResourceWarning, which fails the test."""
    (tmp_path / "a.csv").write_text("a\n1\n2\n")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        list(open_file(tmp_path / name).rows)
        next(open_file(tmp_path / name).rows)
        open_file(tmp_path / name).close()


# --- SQL --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def test_sqlite(sqlite: sqlite3.Connection) -> None:
    sqlite.execute("CREATE TABLE kpis (id INTEGER, note TEXT)")
    sqlite.executemany("INSERT INTO kpis VALUES (?, ?)", [(BIG, AWKWARD), (2, None), (3, "5%")])
    source = read_query(sqlite, "SELECT id, note FROM kpis WHERE id > ? ORDER BY id", (2,), batch_rows=1)
    assert source.columns == ("id", "note")
    assert list(source.rows) == [{"id": 3, "note": "5%"}, {"id": BIG, "note": AWKWARD}]


def test_sqlite_without_rows(sqlite: sqlite3.Connection) -> None:
    source = read_query(sqlite, "SELECT 1 AS a, 2 AS a WHERE 0")
    assert source.columns == ("a", "a")
    assert list(source.rows) == []
    with pytest.raises(ValueError, match="the statement gives no rows; write a SELECT"):
        read_query(sqlite, "CREATE TABLE x (y)")


@pytest.mark.parametrize(
    ("order", "ordered"),
    [
        ("ORDER BY a", True),
        ("order\n\tBy (a), abs(a)", True),
        ("", False),
        ("/* order by a */ -- order by a", False),
        ("WHERE ' order by ' <> 'x'", False),
        ("WHERE a IN (SELECT a FROM (SELECT 1 AS a) ORDER BY a)", False),
        ('AS "order by"', False),
    ],
)
def test_only_a_query_that_asks_for_order_has_one(sqlite: sqlite3.Connection, order: str, ordered: bool) -> None:
    sql = f"SELECT a, row_number() OVER (PARTITION BY a ORDER BY a) FROM (SELECT 1 AS a) {order}"
    source = read_query(sqlite, sql)
    source.close()
    assert source.ordered is ordered


QUERY = """
    SELECT 9007199254740993::bigint AS id, 12345678901234.5678::numeric AS value, DATE '2026-01-05' AS day,
           TIMESTAMPTZ '2026-01-05 23:30+00' AS moment, NULL::text AS note, '5%' AS share, number
    FROM generate_series(1, 25) AS number ORDER BY number
"""


def _rows_of_postgres(connection: Any) -> None:
    source = read_query(connection, QUERY, batch_rows=10)
    assert source.columns == ("id", "value", "day", "moment", "note", "share", "number")
    rows = list(source.rows)
    assert [row["number"] for row in rows] == list(range(1, 26))
    assert typed([rows[0]])[0] | {"moment": None} == {
        "id": (int, BIG),
        "value": (Decimal, EXACT),
        "day": (date, date(2026, 1, 5)),
        "moment": None,
        "note": (type(None), None),
        "share": (str, "5%"),
        "number": (int, 1),
    }
    assert rows[0]["moment"] == datetime(2026, 1, 5, 23, 30, tzinfo=UTC)
    assert list(read_query(connection, "SELECT %s::int AS a WHERE 'a' LIKE '%%'", (5,)).rows) == [{"a": 5}]
    empty = read_query(connection, "SELECT 1 AS a, 2 AS b WHERE false")
    assert (empty.columns, list(empty.rows)) == (("a", "b"), [])


def _open_cursors(connection: Any) -> int:
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'achieveit%'")
    (count,) = cursor.fetchone()
    cursor.close()
    return int(count)


@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg2(postgres: Any, autocommit: bool) -> None:
    postgres.autocommit = autocommit
    _rows_of_postgres(postgres)


def test_psycopg2_leaves_the_result_on_the_server(postgres: Any) -> None:
    source = read_query(postgres, QUERY, batch_rows=10)
    next(source.rows)
    assert _open_cursors(postgres) == 1
    source.close()
    assert _open_cursors(postgres) == 0


def test_psycopg2_with_rows_as_mappings(postgres: Any) -> None:
    from psycopg2.extras import RealDictCursor

    postgres.cursor_factory = RealDictCursor
    assert list(read_query(postgres, "SELECT 1 AS a").rows) == [{"a": 1}]


def test_psycopg2_statement_with_an_error(postgres: Any) -> None:
    import psycopg2

    with pytest.raises(psycopg2.ProgrammingError, match="no_such_table"):
        read_query(postgres, "SELECT * FROM no_such_table")


@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg(postgres: Any, autocommit: bool) -> None:
    psycopg = pytest.importorskip("psycopg")
    parameters = postgres.get_dsn_parameters()
    with psycopg.connect(
        host=parameters["host"], port=parameters["port"], user=parameters["user"], dbname=parameters["dbname"]
    ) as connection:
        connection.autocommit = autocommit
        _rows_of_postgres(connection)
        source = read_query(connection, QUERY, batch_rows=10)
        next(source.rows)
        assert _open_cursors(connection) == 1
        source.close()
        assert _open_cursors(connection) == 0


def test_from_postgres_to_the_batch(postgres: Any) -> None:
    sql = """
        SELECT 'Größe ' || number AS kpi, 'g' AS rag, (number / 8.0)::numeric(20, 18) AS value,
               TIMESTAMPTZ '2026-01-05 23:30+00' AS moment, NULLIF('5%', '') AS note
        FROM generate_series(1, 3) AS number
    """
    columns = {
        "external_id": "kpi",
        "status": "rag",
        "metric_value": "value",
        "as_of_date": "moment",
        "comment": "note",
    }
    kind = UpdateKind.PROGRESS
    checker = Checker(kind, columns, status_map={"g": "On Track"}, timezone="Europe/Berlin")
    with prepare(read_query(postgres, sql), checker, kind=kind) as prepared:
        (batch,) = prepared.batches()
    assert batch.body.decode() == (
        "External ID,Status,Metric Value,As Of Date,Comment\n"
        "Größe 1,On Track,0.125000000000000000,2026-01-06,5%\n"
        "Größe 2,On Track,0.250000000000000000,2026-01-06,5%\n"
        "Größe 3,On Track,0.375000000000000000,2026-01-06,5%"
    )
