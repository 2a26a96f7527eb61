"""A whole Airflow beside an AchieveIt: what a test needs, and what ``make cluster`` leaves running."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extras import execute_values

from tests.cluster import scale
from tests.cluster.achieveit import AchieveIt
from tests.cluster.data import ROWS
from tests.cluster.gate import Gate
from tests.cluster.programs import Programs
from tests.cluster.stack import Cluster, Run
from tests.postgres import POSTGRES_URL


@dataclass(frozen=True)
class World:
    """All that a test needs.

    :param airflow: the running Airflow.
    :param achieveit: the running AchieveIt.
    :param gates: before AchieveIt, by the name of the connection's last part.
    """

    airflow: Cluster
    achieveit: AchieveIt
    gates: dict[str, Gate]

    def wait_until_looked_at(self, run: Run, task_id: str) -> None:
        """Wait until a task has sent all batches and asked about every job."""
        name = run.name(task_id)
        self.airflow.until(
            lambda: len(self.achieveit.jobs(name)) == ROWS and self.achieveit.looked_at(name),
            seconds=90,
            what=f"{run.dag_id}.{task_id} waits for its jobs",
        )


def what_is_missing() -> str | None:
    """Tell which server this machine lacks, if any."""
    if shutil.which("redis-server") is None:
        return "there is no redis-server on this machine"
    try:
        psycopg2.connect(POSTGRES_URL, connect_timeout=5).close()
    except psycopg2.OperationalError as error:
        return f"no PostgreSQL answers at TEST_POSTGRES_URL ({str(error).strip()})"
    return None


@contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """Run all of it while the block lasts.

    :param directory: where everything keeps its files, the components' output among them.
    """
    with ExitStack() as stack:
        programs = stack.enter_context(Programs(directory))
        achieveit = AchieveIt(programs, directory)
        gates = {how: stack.enter_context(Gate(achieveit.port)) for how in ("refused", "hung")}
        short = {"timeout": 5, "connect_timeout": 2, "max_retries": 2}
        connections = {"achieveit_default": achieveit.connection(timeout=300)}
        connections |= {f"achieveit_{how}": achieveit.connection(gate.port, **short) for how, gate in gates.items()}
        for user, plan_id in scale.PLANS.items():
            achieveit.put_plan(plan_id, {"name": user, "items": scale.items()})
            connections[f"achieveit_{user}"] = achieveit.connection(key=achieveit.add_user(user, plan_id))
        for seed, (plan_id, count) in enumerate(scale.EXPORTED.items()):
            achieveit.put_plan(plan_id, {"generate": count, "seed": seed})
        airflow = Cluster(programs, directory, connections)
        airflow.start()
        _fill_warehouse(airflow.database_url("warehouse"))
        yield World(airflow, achieveit, gates)


def _fill_warehouse(url: str) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        for schema in scale.WAYS:
            cursor.execute(f"create schema {schema}")
        for table, (kpis, days) in scale.SOURCES.items():
            cursor.execute(f"create table {table} (kpi text, day date, rag text, value numeric, note text)")
            rows = [tuple(row.values()) for row in scale.kpi_values(kpis, days)]
            execute_values(cursor, f"insert into {table} values %s", rows)
    connection.close()
