"""Both roads on one machine: a table of KPIs reaches a local AchieveIt, and its plan comes back into SQLite.

    make demo

Starts the simulator over TLS, fills a SQLite warehouse, and lets Airflow run the example DAGs unchanged. Everything is
kept in ``.demo`` until the next demo; no process is left behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".demo"
WAREHOUSE = HOME / "warehouse.db"
TASK_LOG = HOME / "airflow.log"
WATCHED = ("pat-nps", "saf-hand", "ppl-turnover", "fin-revenue", "acc-newpat", "dat-uptime")


def main() -> int:
    """Run the demo and print what a person wants to see."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    # Airflow reads its settings when it is first imported.
    variables = environment(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    began = time.monotonic()
    try:
        with airflow_speaks_to(TASK_LOG):
            from airflow.utils.db import initdb

            from airflow_provider_achieveit.simulator.server import running

            initdb()
    except ImportError as error:
        print(f"Something is not installed ({error}). `make demo` installs all that is needed.", file=sys.stderr)
        return 1
    sys.path.insert(0, str(ROOT / "scripts"))

    with running(tls=True, job_seconds=2.0) as simulator:
        os.environ["AIRFLOW_CONN_ACHIEVEIT_DEFAULT"] = simulator.connection()
        heading("AchieveIt, played by the simulator")
        [plan] = simulator.world.plans.values()
        print(f"  {simulator.url} (its own CA: verified)\n  plan {plan.name!r}: {len(plan.items)} items")

        fill_warehouse()
        if not run("plan_export", "export_plan"):
            return 1
        heading("Warehouse table plan_items, before the push")
        show_plan_items()

        pushed = run("daily_kpi_push", "push_figures")
        if not pushed:
            return 1
        heading("Push: kpi_values -> progress updates (DAG achieveit_daily_kpi_push, waiting deferred)")
        for name in ("rows_read", "rows_submitted", "rows_rejected", "rows_unchanged"):
            print(f"  {name:15} {pushed[name]:4}")
        print("  rejected:")
        for line in rejects(TASK_LOG.read_text(encoding="utf-8", errors="replace")):
            print(f"    {line}")
        print("  jobs:")
        jobs = [(job.job_id, job.filename, job.rows, str(job.state)) for job in simulator.world.jobs.values()]
        show(("job", "batch", "rows", "AchieveIt says"), jobs)

        exported = run("plan_export", "export_plan")
        if not exported:
            return 1
        heading("Export: plan -> warehouse (DAG achieveit_plan_export)")
        for name in ("items", "pages", "inserted", "updated", "deleted"):
            print(f"  {name:15} {exported[name]:4}")
        heading("Warehouse table plan_items, after the push")
        show_plan_items()
        heading("Rows in all tables of the export")
        show_table_sizes()

    print(f"\nDone in {time.monotonic() - began:.0f} s. Look around: {WAREHOUSE.relative_to(ROOT)} (SQLite),", end=" ")
    print(f"{TASK_LOG.relative_to(ROOT)} (what Airflow logged).")
    return 0


def environment(outside: Mapping[str, str]) -> dict[str, str]:
    """Return the demo's variables: those given, with an Airflow below ``.demo`` in place of the user's own.

    :param outside: the variables that the demo was started with.
    """
    # Settings, connections, variables, the place of airflow.cfg: any of them could lead to the user's own database.
    kept = {name: value for name, value in outside.items() if not name.startswith("AIRFLOW_")}
    return kept | {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": str(WAREHOUSE)}),
        "NO_PROXY": "127.0.0.1,localhost",
    }


def fill_warehouse() -> None:
    """Make the KPI table, three mistakes in it included, and show its newest rows."""
    from airflow.providers.common.compat.sdk import BaseHook
    from fill_warehouse import fill

    with airflow_speaks_to(TASK_LOG):
        rows = fill(BaseHook.get_connection("warehouse").get_hook(), datetime.now(UTC).date(), mistakes=True)
    heading(f"Warehouse table kpi_values: {rows} figures, the newest of them")
    query("select kpi_id, day, value, rag, note from kpi_values order by day desc, kpi_id limit 6")


def run(dag_file: str, task_id: str) -> dict[str, Any] | None:
    """Let Airflow run an example DAG, and return what its task pushed; None and a word if it did not succeed."""
    from importlib import import_module

    with airflow_speaks_to(TASK_LOG):
        sys.path.insert(0, str(ROOT / "dags_examples"))
        dag_run = import_module(dag_file).dag.test()
        result = xcom(dag_run, task_id)
    if str(dag_run.state) == "success" and result:
        return result
    print(f"\nDAG {dag_run.dag_id} ended as {dag_run.state!s}. Its last words, from {TASK_LOG}:", file=sys.stderr)
    print("\n".join(TASK_LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]), file=sys.stderr)
    return None


def xcom(dag_run: Any, task_id: str) -> dict[str, Any] | None:
    """Return what a task pushed."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = XComModel.get_many(
            run_id=dag_run.run_id, dag_ids=[dag_run.dag_id], task_ids=[task_id], key="return_value"
        )
        row = session.execute(found.limit(1)).scalar_one_or_none()
        return None if row is None else XComModel.deserialize_value(row)


def rejects(log: str) -> list[str]:
    """Return the rejected rows as a task's log tells them.

    :param log: its text.
    """
    lines = re.findall(r"^\s*(row \d+, .*?)\s*$", log, re.MULTILINE)
    # Airflow ends a record with its logger and place, which is the last row of a record here.
    return [re.sub(r"\s+\[airflow\.[\w.]+\](\s+\w+=\S+)*$", "", line) for line in lines]


def show_plan_items() -> None:
    """Print some items of the exported plan."""
    with closing(sqlite3.connect(WAREHOUSE)) as connection:
        names = dict(connection.execute("select kpi_id, name from kpis"))
    wanted = ", ".join("'" + names[kpi_id].replace("'", "''") + "'" for kpi_id in WATCHED)
    query(
        "select sequence_id, name, status_name, current_value, target, updates, last_updated from plan_items "
        f"where name in ({wanted}) order by row_number"
    )


def show_table_sizes() -> None:
    """Print how many rows each table of the export has."""
    with closing(sqlite3.connect(WAREHOUSE)) as connection:
        every = connection.execute("select name from sqlite_master where type = 'table' order by name")
        tables = [name for (name,) in every if name.startswith("plan_items")]
        sizes = [(table, *connection.execute(f'select count(*) from "{table}"').fetchone()) for table in tables]
    show(("table", "rows"), sizes)


def query(sql: str) -> None:
    """Print what a query gives."""
    with closing(sqlite3.connect(WAREHOUSE)) as connection:
        cursor = connection.execute(sql)
        show([column[0] for column in cursor.description], cursor.fetchall())


def show(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table."""
    texts = [[*header], *([("" if value is None else str(value))[:110] for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for number, line in enumerate(texts):
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'=' * len(text)}", flush=True)


@contextmanager
def airflow_speaks_to(path: Path) -> Iterator[None]:
    """Send what is written to the output meanwhile into a file: Airflow logs every step of a task there."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
