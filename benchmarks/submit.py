"""Rows from PostgreSQL to checked CSV batches, against plain COPY (query) TO STDOUT of the same query.

    python benchmarks/submit.py [--rows 1000000] [--runs 3]

Both read the same query by turns, each time in a fresh process; medians are compared. The provider's side is its real
code: the source opened through Airflow's hook, every row checked, batches written with their fingerprints and dropped.
Two queries are measured: one that leaves the order open, so that the rows must be brought into an order of their own,
and one with ORDER BY. Target of the house: 4 times the COPY; memory that does not grow with the rows.

Needed: PostgreSQL at TEST_POSTGRES_URL, where a schema is made and dropped again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
TARGET = 4.0
FEW_ROWS = 10_000
SCHEMA = f"achieveit_benchmark_{os.getpid()}"
# No row is beside its neighbour of the key: a table is rarely stored in the order that is wanted.
MAKE_TABLE = """
    CREATE TABLE {table} AS
    SELECT 'KPI-' || lpad((n / 28)::text, 6, '0') AS external_id,
           (ARRAY['On Track', 'Off Track', 'At Risk', 'Achieved', 'Not Achieved', 'Canceled', 'Not Started'])[1 + n % 7]
               AS status,
           (n::numeric * 7919 / 100)::numeric(18, 2) AS metric_value,
           DATE '2026-01-01' + n % 28 AS as_of_date,
           CASE n % 3 WHEN 0 THEN 'note ' || n || ', as told by the team' WHEN 1 THEN 'steady this month' END AS comment
    FROM generate_series(0, {rows} - 1) AS n
    ORDER BY md5(n::text)
"""
QUERY = "SELECT external_id, status, metric_value, as_of_date, comment FROM {table}"
QUERIES = {"order left open": QUERY, "with ORDER BY": f"{QUERY} ORDER BY external_id, as_of_date"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Time checked CSV batches against plain COPY.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (default 1000000)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--child", nargs=2, metavar=("SIDE", "SQL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, sql = arguments.child
        print(json.dumps(measured(SIDES[side], sql)))
        return 0
    with tables(arguments.rows, FEW_ROWS) as (many, few):
        for name, query in QUERIES.items():
            told: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for _ in range(arguments.runs):
                for side in SIDES:
                    told[side].append(child(side, query.format(table=many)))
            copy, batches = (statistics.median(run["seconds"] for run in told[side]) for side in SIDES)
            print(f"{arguments.rows} rows, {name}")
            print(f"  plain COPY       {copy:7.2f} s (median of {arguments.runs})")
            print(f"  checked batches  {batches:7.2f} s")
            print(f"  ratio            {batches / copy:7.2f}, {batches / copy / TARGET:.2f} of the target {TARGET:g}")
            for rows, run in (
                (FEW_ROWS, child("batches", query.format(table=few))),
                (arguments.rows, told["batches"][0]),
            ):
                peak, base = run["peak"] / 1024, run["base"] / 1024
                print(f"  peak memory      {peak:7.1f} MB, {peak - base:.1f} MB above the imports, at {rows} rows")
    return 0


@contextmanager
def tables(*counts: int) -> Iterator[list[str]]:
    import psycopg2

    with closing(psycopg2.connect(URL)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            names = [f"{SCHEMA}.kpis_{count}" for count in counts]
            for name, count in zip(names, counts, strict=True):
                cursor.execute(MAKE_TABLE.format(table=name, rows=count))
                cursor.execute(f"VACUUM ANALYZE {name}")
            yield names
        finally:
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def child(side: str, sql: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, __file__, "--child", side, sql],
            env=os.environ
            | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW_CONN_WAREHOUSE": URL},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(side: Any, sql: str) -> dict[str, float]:
    work = side()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    work(sql)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "base": base, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def plain_copy() -> Any:
    """What is imported here is not timed."""
    import psycopg2

    def work(sql: str) -> None:
        with closing(psycopg2.connect(URL)) as connection, Path(os.devnull).open("wb") as nowhere:
            connection.cursor().copy_expert(f"COPY ({sql}) TO STDOUT", nowhere)

    return work


def checked_batches() -> Any:
    from airflow_provider_achieveit.api.contract import UpdateKind
    from airflow_provider_achieveit.operators.sources import open_source
    from airflow_provider_achieveit.updates.record import Checker
    from airflow_provider_achieveit.updates.spool import prepare

    def work(sql: str) -> None:
        kind = UpdateKind.PROGRESS
        source = {"sql": sql, "conn_id": "warehouse"}
        nothing: dict[str, Any] = dict.fromkeys(("parameters", "path", "path_conn_id", "rows"))
        with open_source(**source, **nothing) as opened, prepare(opened, Checker(kind), kind=kind) as prepared:
            sent = sum(batch.rows for batch in prepared.batches())
            assert sent == prepared.rows_read == prepared.rows_valid > 0

    return work


SIDES = {"copy": plain_copy, "batches": checked_batches}

if __name__ == "__main__":
    sys.exit(main())
