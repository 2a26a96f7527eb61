"""What is special about MariaDB and DuckDB."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from airflow_provider_achieveit.warehouse.databases import database_of
from airflow_provider_achieveit.warehouse.errors import WarehouseError
from tests.warehouse.loading import load, plan_items
from tests.warehouse.real_databases import Warehouse

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("lax", ["", "ANSI_QUOTES"])
def test_mariadb_refuses_an_id_that_is_too_long_whatever_its_mode(mariadb: Warehouse, lax: str) -> None:
    engine = create_engine(mariadb.url, connect_args={"init_command": f"SET sql_mode = '{lax}'"})
    with pytest.raises(WarehouseError, match=r"refused the load .*Data too long for column 'id'"):
        load(mariadb, [{"id": "x" * 256}], engine=engine)
    assert mariadb.tables() == set()
    engine = create_engine(mariadb.url, connect_args={"init_command": f"SET sql_mode = '{lax}'"})
    assert load(mariadb, [{"id": "x" * 255, "description": "x" * 70_000}], engine=engine).inserted == 1


def test_duckdb_waits_for_a_process_that_has_the_file(duckdb: Warehouse) -> None:
    load(duckdb, plan_items(2), "other plan")
    path = make_url(duckdb.url).database or ""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        engine = duckdb.engine()
        database_of(engine, lock_seconds=1)
        with pytest.raises(OperationalError, match="Could not set lock on file"):
            engine.connect()
        waiting = subprocess.Popen(
            [sys.executable, "-c", LOAD, duckdb.url], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout
        assert waiting.stdout.readline() == "begins\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)
        holder.stdin.write("go\n")
        holder.stdin.close()
        assert waiting.wait(60) == 0
        waiting.stdout.close()
    assert len(duckdb.read("plan_items")) == 5


LOAD = """
import sys
from tests.warehouse.loading import load, plan_items
from tests.warehouse.real_databases import Warehouse
print("begins", flush=True)
load(Warehouse(sys.argv[1], "plans"), plan_items(3))
"""


def test_any_text_passes_duckdbs_bulk_path(duckdb: Warehouse) -> None:
    rng = random.Random(7)
    alphabet = "\\\t\n\r\x00\x01\x1f.N nfr\"',;{}[]%$?\u0085\u2028\ufeff\uffff😀äz"
    texts = ["", None, "NULL", "[1, 2]", *("".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(3000))]
    engine = duckdb.engine()
    table = Table("any text", MetaData(), Column("n", Text), Column("a value", Text), prefixes=["TEMPORARY"])
    database = database_of(engine)
    with engine.connect() as connection, connection.begin():
        table.create(connection)
        database.write(connection, table, [(str(n), text) for n, text in enumerate(texts)])
        stored = dict(connection.execute(table.select()).fetchall())
    engine.dispose()
    assert [stored[str(n)] for n in range(len(texts))] == texts
