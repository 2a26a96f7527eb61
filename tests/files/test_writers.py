"""What the writers make of items: typed, lossless, and as readers of the formats expect it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg2.extras
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from airflow_provider_achieveit.files.formats import FileFormat, format_by_name
from airflow_provider_achieveit.files.writers import writer_of
from airflow_provider_achieveit.warehouse.model import Nested, plan_tables
from airflow_provider_achieveit.warehouse.rows import RowMaker
from airflow_provider_achieveit.warehouse.types import sql_type
from airflow_provider_achieveit.warehouse.values import Limits
from tests.postgres import connect_or_skip

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
COLUMNS = [column.name for column in plan_tables(Nested.JSON)[0].columns]


def written(file_format: str, *pages: list[dict[str, Any]], unescape_html: bool = True) -> bytes:
    stream = io.BytesIO()
    make_writer = writer_of(FileFormat(file_format))
    writer = make_writer(stream, plan_id="plan", extracted_at=NOW, unescape_html=unescape_html)
    for page in pages:
        writer.write(page)
    writer.close()
    assert not stream.closed
    return stream.getvalue()


def parquet_rows(*pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(written("parquet", *pages))).to_pylist())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://lake/plans/2026-01-01.parquet", "parquet"),
        ("/tmp/plan.with.dots.JSONL", "jsonl"),
        ("memory://plan.ndjson", "jsonl"),
        ("plan.csv", "csv"),
    ],
)
def test_the_extension_tells_the_format(path: str, expected: str) -> None:
    assert format_by_name(path) == expected


@pytest.mark.parametrize("path", ["plan", "plan.xlsx", "plan.csv.gz", "s3://lake/plans/", "s3://lake.csv/plan"])
def test_any_other_extension_is_told(path: str) -> None:
    with pytest.raises(
        ValueError, match=r"must end in \.parquet, \.jsonl, \.ndjson, \.csv, or 'format' must say parquet"
    ):
        format_by_name(path)


class TestParquet:
    def test_columns_are_those_of_the_warehouse_and_typed(self) -> None:
        schema = pq.read_schema(io.BytesIO(written("parquet")))
        assert schema.names == COLUMNS
        told = {name: schema.field(name).type for name in schema.names}
        assert told["plan_id"] == pa.string()
        assert told["row_number"] == pa.int64()
        assert told["has_metric"] == pa.bool_()
        assert told["last_updated"] == told["_extracted_at"] == pa.timestamp("us", tz="UTC")
        assert told["current_value"] == pa.decimal128(38, 18)
        assert told["extra"] == pa.string()
        assert [(field.name, field.type) for field in told["tags"].value_type] == [
            ("id", pa.string()),
            ("organization_id", pa.string()),
            ("name", pa.string()),
            ("extra", pa.string()),
        ]
        checklist = told["checklists"].value_type
        assert checklist.field("items").type.value_type.field("done_on").type == pa.timestamp("us", tz="UTC")

    def test_a_row_group_for_each_page(self) -> None:
        file = pq.ParquetFile(io.BytesIO(written("parquet", [{"id": "1"}, {"id": "2"}], [], [{"id": "3"}])))
        assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [2, 1]

    def test_an_empty_plan_is_a_table_without_rows(self) -> None:
        assert pq.read_table(io.BytesIO(written("parquet", []))).num_rows == 0

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("123456789012.345678901234567890", Decimal("123456789012.345678901234567890")),
            ("99999999999999999999.999999999999999999", Decimal("99999999999999999999.999999999999999999")),
            ("-1E+19", Decimal("-1E19")),
            ("0.1000000000000000000000", Decimal("0.1")),
            (Decimal("0.000000000000000001"), Decimal("1E-18")),
            ("", None),
            ("0", Decimal(0)),
        ],
    )
    def test_decimals_that_fit_are_exact(self, value: Any, expected: Decimal | None) -> None:
        [row] = parquet_rows([{"id": "1", "baseline": value}])
        assert row["baseline"] == expected
        assert row["extra"] is None

    @pytest.mark.parametrize("value", ["1E+20", "100000000000000000000", "0.0000000000000000001", "n/a", "1e-400"])
    def test_decimals_that_do_not_fit_are_in_extra_as_they_came(self, value: str) -> None:
        [row] = parquet_rows([{"id": "1", "baseline": value}])
        assert row["baseline"] is None
        assert json.loads(row["extra"]) == {"baseline": value}

    def test_lists_are_in_their_item_and_null_is_no_empty_list(self) -> None:
        tags = [{"id": "t1", "name": "One", "organizationId": None}, {"id": "t2", "name": "Two", "color": "red"}]
        points = [{"id": "a", "name": "Step", "sortIndex": 0, "doneOn": "2026-01-01T00:00:00Z"}, {"id": "b"}]
        checklists = [
            {"id": "c1", "items": []},
            {"id": "c2", "items": points},
            {"id": "c3"},
            {"id": "c4", "items": "none"},
        ]
        rows = parquet_rows(
            [
                {"id": "1", "tags": [], "checklists": [{"id": "c0", "items": points[1:]}]},
                {"id": "2", "tags": tags, "checklists": checklists},
                {"id": "3", "tags": None, "checklists": []},
                {"id": "4", "tags": ["t1"]},
                {"id": "5", "tags": tags[:1]},
            ]
        )
        assert [row["tags"] for row in rows] == [
            [],
            [
                {"id": "t1", "organization_id": None, "name": "One", "extra": None},
                {"id": "t2", "organization_id": None, "name": "Two", "extra": '{"color":"red"}'},
            ],
            None,
            None,
            [{"id": "t1", "organization_id": None, "name": "One", "extra": None}],
        ]
        assert json.loads(rows[3]["extra"]) == {"tags": ["t1"]}
        assert [row["checklists"] and len(row["checklists"]) for row in rows] == [1, 4, [], None, None]
        assert [point["id"] for point in rows[0]["checklists"][0]["items"]] == ["b"]
        first, second, third, fourth = rows[1]["checklists"]
        assert (first["items"], third["items"], fourth["items"]) == ([], None, None)
        assert json.loads(fourth["extra"]) == {"items": "none"}
        assert [point["id"] for point in second["items"]] == ["a", "b"]
        assert second["items"][0]["done_on"] == datetime(2026, 1, 1, tzinfo=UTC)

    def test_text_of_any_kind(self) -> None:
        odd = "a\x00b 📉 \u2028 &amp; \r\n\"'" + "x" * 1_000_000
        [row] = parquet_rows([{"id": "1", "description": odd, "name": "R&amp;D", "unknown": {"é": [1, None]}}])
        assert row["description"] == odd
        assert row["name"] == "R&D"
        assert json.loads(row["extra"]) == {"unknown": {"é": [1, None]}}
        assert row["_extracted_at"] == NOW


class TestJsonLines:
    def test_a_line_is_the_item_as_it_came(self) -> None:
        came = (
            '{"z":1.10,"a":123456789012345678901234567890,"id":"1","name":"R&amp;D \\u0000 é 📉\\u2028",'
            '"tags":[{"x":[]}],"baseline":"","none":null,"f":-0.0,"big":12345678901234567.890123456789}'
        )
        item = json.loads(came, parse_float=Decimal)
        [line] = written("jsonl", [item]).decode().split("\n")[:-1]
        back = json.loads(line, parse_float=Decimal)
        assert back == item
        assert list(back) == list(item)
        assert str(back["z"]) == "1.10"
        assert written("jsonl", [item], [item]) == f"{line}\n{line}\n".encode()

    def test_an_empty_plan_is_an_empty_file(self) -> None:
        assert written("jsonl", []) == b""


class TestCsv:
    def test_null_and_empty_text_are_two_things(self) -> None:
        header, first, second, end = written(
            "csv", [{"id": "1", "name": "", "isOrphan": True}], [{"id": "2", "baseline": "1E+3", "start": "2026-05-04"}]
        ).split(b"\r\n")
        assert end == b""
        assert header.decode().split(",") == COLUMNS
        told = dict(zip(COLUMNS, first.decode().split(","), strict=True))
        assert {name: value for name, value in told.items() if value} == {
            "plan_id": '"plan"', "id": '"1"', "name": '""', "is_orphan": "true",
            "_extracted_at": "2026-01-02T03:04:05.000678+00:00",
        }  # fmt: skip
        told = dict(zip(COLUMNS, second.decode().split(","), strict=True))
        assert (told["name"], told["baseline"], told["start"]) == ("", "1000", "2026-05-04T00:00:00+00:00")

    def test_lists_are_json_and_null_bytes_are_kept_in_extra(self) -> None:
        tags = [{"id": "t", "name": 'a "quoted", one\nline'}]
        raw = written("csv", [{"id": "1", "tags": tags, "admins": [], "description": "a\x00b"}])
        assert b"\x00" not in raw
        [row] = csv.DictReader(io.StringIO(raw.decode(), newline=""))
        assert json.loads(row["tags"]) == tags
        assert (row["admins"], row["members"], row["description"]) == ("[]", "", "ab")
        assert json.loads(row["extra"]) == {"description": "a\x00b"}

    def test_postgresql_reads_what_was_meant(self) -> None:
        items = [
            {"id": "1", "name": "", "baseline": "12.50", "tags": [{"id": "t"}], "isOrphan": False, "more": "é\\.\n"},
            {"id": "2", "description": '\\.\r\n"x",y', "due": "2026-12-31T00:00:00.123456+02:00", "status": 3},
        ]
        [model] = plan_tables(Nested.JSON)
        rows = RowMaker("plan", NOW, nested=Nested.JSON, unescape_html=True, limits=Limits(null_bytes=False))
        expected = [tuple(row) for row in rows.rows(items)[""]]
        table = Table(
            "plan_csv",
            MetaData(),
            *(Column(column.name, sql_type(column)) for column in model.columns),
            prefixes=["TEMPORARY"],
        )
        connection = connect_or_skip()
        psycopg2.extras.register_default_json(connection, loads=str)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET timezone = 'UTC'")
                cursor.execute(str(CreateTable(table).compile(dialect=postgresql.dialect())))
                cursor.copy_expert(
                    "COPY plan_csv FROM STDIN (FORMAT csv, HEADER)", io.BytesIO(written("csv", items[:1], items[1:]))
                )
                cursor.execute("SELECT * FROM plan_csv ORDER BY id")
                found = cursor.fetchall()
        finally:
            connection.close()
        assert [tuple(map(_told, row)) for row in found] == [tuple(map(_told, row)) for row in expected]


def _told(value: Any) -> Any:
    """JSON may be written with spaces or without."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "items", "goalId", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(["name", "tags", "checklists", "members", "baseline", "start", "status", "isOrphan", "x", "é"])
PAGES = st.lists(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=4), max_size=3)


@given(PAGES)
def test_whatever_comes_is_found_again_in_every_format(pages: list[list[dict[str, Any]]]) -> None:
    for at, item in enumerate(item for page in pages for item in page):
        item["id"] = f"i{at}"
    items = [item for page in pages for item in page]
    lines = written("jsonl", *pages).decode().split("\n")[:-1]
    assert [json.loads(line, parse_float=Decimal) for line in lines] == items
    for of_csv, of_parquet, item in zip(
        csv.DictReader(io.StringIO(written("csv", *pages).decode(), newline="")),
        parquet_rows(*pages),
        items,
        strict=True,
    ):
        assert of_csv["id"] == of_parquet["id"] == item["id"]
        for name in ("x", "é"):
            for extra in (of_csv["extra"], of_parquet["extra"]):
                told = json.loads(extra, parse_float=Decimal) if extra else {}
                assert told.get(name) == item.get(name)
        tags = item.get("tags")
        if isinstance(tags, list) and all(isinstance(tag, dict) for tag in tags):
            assert len(of_parquet["tags"]) == len(tags)
        else:
            assert of_parquet["tags"] is None


@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "csv"])
def test_halves_of_utf16_pairs_are_kept_escaped(file_format: str) -> None:
    item = {"id": "1", "name": "a\ud83d", "x\ude00": "\ud800", "tags": [{"id": "t", "name": "\udfff"}]}
    raw = written(file_format, [item])
    if file_format == "jsonl":
        told = raw.decode()
    elif file_format == "csv":
        [row] = csv.DictReader(io.StringIO(raw.decode(), newline=""))
        told = row["extra"] + row["tags"]
    else:
        [row] = pq.read_table(io.BytesIO(raw)).to_pylist()
        told = row["extra"] + row["tags"][0]["extra"]
    for half in (r"a\ud83d", r"\ud800", r"\udfff", "ude00"):
        assert half in told
