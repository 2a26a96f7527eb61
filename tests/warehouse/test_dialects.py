"""DDL and statements for databases that no test can run, as their own dialects of SQLAlchemy write them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import dialect as postgresql_dialect
from sqlalchemy.engine import Connection, Dialect, make_url
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement
from sqlalchemy.sql.dml import Update
from sqlalchemy.sql.elements import ClauseElement

from airflow_provider_achieveit.warehouse import databases
from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.databases.sqlite import SqliteDatabase
from airflow_provider_achieveit.warehouse.errors import WarehouseError
from airflow_provider_achieveit.warehouse.growth import _AddColumn
from airflow_provider_achieveit.warehouse.load import plan_load
from airflow_provider_achieveit.warehouse.model import Mode, Nested
from airflow_provider_achieveit.warehouse.target import PlanTables, plan_tables
from tests.warehouse.loading import NOW, load, plan_items
from tests.warehouse.real_databases import Warehouse

OTHERS = ["snowflake", "bigquery"]
"""Their packages do not know the SQLAlchemy of the locked environment; `make test-dialects` has another."""
DIALECTS = ["mysql", "mssql", "oracle", "redshift", "duckdb", *OTHERS]
# By dialect: types of a key text, a text, a decimal and a moment.
TYPES = {
    "mysql": (
        "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
        "LONGTEXT",
        "NUMERIC(65, 30)",
        "DATETIME(6)",
    ),
    "mssql": ("NVARCHAR(255) COLLATE Latin1_General_100_BIN2", "NVARCHAR(max)", "NUMERIC(38, 18)", "DATETIMEOFFSET(6)"),
    "oracle": ("VARCHAR2(255 CHAR)", "CLOB", "NUMERIC(38, 18)", "TIMESTAMP"),
    "redshift": ("VARCHAR(255)", "VARCHAR(65535)", "NUMERIC(38, 18)", "TIMESTAMP WITH TIME ZONE"),
    "duckdb": ("TEXT", "TEXT", "NUMERIC(38, 18)", "TIMESTAMP WITH TIME ZONE"),
    "snowflake": ("TEXT", "TEXT", "NUMERIC(38, 18)", "TIMESTAMP_TZ(6)"),
    "bigquery": ("STRING", "STRING", "BIGNUMERIC(38, 18)", "TIMESTAMP"),
}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    try:
        made: Dialect = make_url(f"{request.param}://").get_dialect()()
    except NoSuchModuleError as error:
        if request.param not in OTHERS or "ALL_DIALECTS" in os.environ:
            raise
        pytest.skip(f"`make test-dialects` runs it, with the older SQLAlchemy that its dialect needs: {error}")
    return made


def database(dialect: Dialect) -> type[Database]:
    return databases._DATABASES[dialect.name]


def tables_of(dialect: Dialect, mode: Mode, nested: Nested = Nested.TABLES) -> PlanTables:
    return plan_tables("plan_items", "strategy", nested, mode, database(dialect))


def compiled(statement: Any, dialect: Dialect) -> str:
    return re.sub(r"\s+", " ", str(statement.compile(dialect=dialect)).replace("`", "")).strip()


def column_types(table: str) -> dict[str, str]:
    lines = re.split(r", (?![^(]*\))", table.partition("(")[2].rpartition(")")[0])
    return {name.strip('"`[]'): kind for name, _, kind in (line.strip().partition(" ") for line in lines)}


@pytest.mark.parametrize("mode", Mode)
def test_every_table_has_types_and_keys_that_its_database_takes(dialect: Dialect, mode: Mode) -> None:
    tables = tables_of(dialect, mode)
    key, text, decimal, moment = TYPES[dialect.name]
    for table in tables.kept:
        types = column_types(compiled(CreateTable(table), dialect))
        assert types["plan_id"].startswith(f"{key} NOT NULL")
        assert types["_extracted_at"].startswith(moment)
        for column in table.primary_key:
            assert not re.search(r"CLOB|LONGTEXT|max|65535|DATETIMEOFFSET\(7\)", types[column.name])
            assert dialect.name != "oracle" or "TIME ZONE" not in types[column.name]
    items = column_types(compiled(CreateTable(tables.items.target), dialect))
    assert items["description"].startswith(text)
    assert items["extra"].startswith(text)
    assert items["current_value"].startswith(decimal)


KEY_BYTES = {"mysql": 3072, "mssql": 1700, "oracle": 6398}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("dialect", KEY_BYTES, indirect=True)
def test_no_key_is_longer_than_its_database_allows(dialect: Dialect, mode: Mode) -> None:
    tables = tables_of(dialect, mode)
    of_a_character = {"mysql": 4, "mssql": 2, "oracle": 4}[dialect.name]
    for table in (*tables.kept, *tables.temporary):
        ddl = compiled(CreateTable(table), dialect)
        types = column_types(ddl)
        lengths = [
            int(length[1]) * of_a_character if (length := re.search(r"CHAR2?\((\d+)", types[column.name])) else 13
            for column in table.primary_key
        ]
        assert sum(lengths) <= KEY_BYTES[dialect.name]
        # SQL Server allows a clustered key, its default, 900 bytes only.
        assert (dialect.name == "mssql") == ("PRIMARY KEY NONCLUSTERED" in ddl)


@pytest.mark.parametrize("mode", Mode)
def test_staging_tables_are_temporary_in_the_databases_own_way(dialect: Dialect, mode: Mode) -> None:
    for table in tables_of(dialect, mode).temporary:
        ddl = compiled(CreateTable(table), dialect)
        if dialect.name == "mssql":
            assert ddl.startswith("CREATE TABLE [#achieveit_stage")
        elif dialect.name == "oracle":
            assert ddl.startswith('CREATE PRIVATE TEMPORARY TABLE "ORA$PTT_achieveit_stage')
            assert ddl.endswith("ON COMMIT PRESERVE DEFINITION")
            assert "PRIMARY KEY" not in ddl, "private temporary tables have none"
        else:
            assert ddl.startswith("CREATE TEMPORARY TABLE achieveit_stage")


def test_indexes_are_made_only_where_there_are_any(dialect: Dialect) -> None:
    indexes = [compiled(CreateIndex(index), dialect) for index in tables_of(dialect, Mode.SCD2).items.target.indexes]
    assert len(indexes) == (dialect.name in ("mysql", "mssql", "oracle"))
    assert all("plan_id" in index and "_valid_to" in index for index in indexes)


def test_columns_are_added_in_the_databases_own_words(dialect: Dialect) -> None:
    column = tables_of(dialect, Mode.REPLACE).items.target.c.baseline
    add = "ADD" if dialect.name in ("mssql", "oracle") else "ADD COLUMN"
    added = compiled(_AddColumn(column), dialect)
    assert added.startswith(f"ALTER TABLE strategy.plan_items {add} baseline {TYPES[dialect.name][2]}")


@pytest.fixture(params=Mode)
def statements(request: pytest.FixtureRequest, sqlite: Warehouse) -> Iterator[list[ClauseElement]]:
    """Everything that loads of a mode execute: a first one, and one that finds rows of every kind of change."""
    seen: list[ClauseElement] = []

    def note(_connection: Connection, statement: Any, *_: Any) -> None:
        if isinstance(statement, ClauseElement) and not isinstance(statement, DDLElement):
            seen.append(statement)

    first, second = plan_items(6), plan_items(8, "new")[2:]
    for days, items in enumerate([first, second, [*second, *first[:2]], second]):
        engine = sqlite.engine()
        event.listen(engine, "before_execute", note)
        at = NOW + timedelta(days=days)
        load(sqlite, items, mode=request.param, extracted_at=at, snapshot_date=NOW.date(), engine=engine)
    return seen


def is_update_by_join(statement: ClauseElement) -> bool:
    return isinstance(statement, Update) and "=achieveit_stage" in compiled(statement, postgresql_dialect())


def test_every_statement_of_every_mode_compiles(statements: list[ClauseElement], dialect: Dialect) -> None:
    if not database(dialect).updates_by_join:
        statements = [statement for statement in statements if not is_update_by_join(statement)]
    texts = {compiled(statement, dialect) for statement in statements}
    assert any(text.startswith("INSERT INTO") for text in texts)
    assert sum(" achieveit_stage" in text for text in texts) > 20
    for text in texts:
        for stage in set(re.findall(r"\bachieveit_stage\w*", text)):
            named = re.findall(rf"(?:FROM|JOIN|INTO|UPDATE|USING|,) [`\"]?{stage}[`\"]?(?![\w.`\"])", text)
            assert len(named) <= 1, "MySQL cannot name a temporary table twice"
        if dialect.name in ("mssql", "oracle", "redshift"):
            assert "DISTINCT FROM" not in text


def test_a_mode_that_a_database_cannot_do_is_refused(sqlite: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoUpdateByJoin(SqliteDatabase):
        updates_by_join = databases._DATABASES["oracle"].updates_by_join

    monkeypatch.setitem(databases._DATABASES, "sqlite", NoUpdateByJoin)
    with pytest.raises(WarehouseError, match=r"Mode 'merge' is not to be had .* Choose mode 'replace'"):
        load(sqlite, plan_items(1), mode=Mode.MERGE)
    assert sqlite.tables() == set()
    assert load(sqlite, plan_items(1), mode=Mode.SCD2).inserted == 1


def test_bigquery_is_refused_with_what_to_do_instead(sqlite: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(SqliteDatabase):
        refusal = databases._DATABASES["bigquery"].refusal

    monkeypatch.setitem(databases._DATABASES, "sqlite", Refused)
    with (
        pytest.raises(WarehouseError, match=r"no transactions .* Export the plan to a file"),
        plan_load(sqlite.engine(), table="t", schema=None, nested=Nested.TABLES),
    ):
        pytest.fail("must not open")
    assert sqlite.tables() == set()
