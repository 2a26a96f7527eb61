"""Fill a SQL connection with KPI figures for the simulator's demo plan: what the example DAGs push.

    python scripts/fill_warehouse.py [--conn-id warehouse] [--until 2026-03-02] [--weeks 26] [--mistakes]

Replaces the tables ``kpis`` (id, name) and ``kpi_values`` (one figure a KPI and week, with a red-amber-green letter and
sometimes a note). The same arguments give the same rows.

The connection comes from an environment variable (``AIRFLOW_CONN_WAREHOUSE``) or a secrets backend: what stands in
Airflow's own database is seen by tasks only, since Airflow 3.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_achieveit.simulator.seed_data import demo_plan

DEFAULT_WEEKS = 26
TABLES = {
    "kpis": "kpi_id varchar(40) primary key, name varchar(200) not null",
    "kpi_values": (
        "kpi_id varchar(40), day date, value numeric, rag varchar(1), note varchar(200), primary key (kpi_id, day)"
    ),
}
_NOTES = {
    "G": ("", "", "", "Ahead of the plan", "Third good week in a row"),
    "A": ("", "", "Slower than planned", "Staffing gap, expected to close next month"),
    "R": ("", "Below the baseline: review on Thursday", 'The team calls it "a dip", causes are being looked into'),
}

Figure = tuple[str, str, str | None, str | None, str | None]
"""KPI, day, value, letter, note; all text, because that is what every database driver binds to any column type."""


def kpis() -> list[tuple[str, str, Decimal, Decimal]]:
    """Return id, name, baseline and target of every KPI that the demo plan has a metric for."""
    measured = [item for item in demo_plan().items if item.fields["hasMetric"]]
    return [
        (item.external_id, item.fields["name"], Decimal(item.fields["baseline"]), Decimal(item.fields["target"]))
        for item in measured
    ]


def figures(until: date, weeks: int = DEFAULT_WEEKS, *, mistakes: bool = False) -> Iterator[Figure]:
    """Yield a figure for each KPI and Monday, from noise around a way that leads from the baseline towards the target.

    :param until: the last day that may have figures.
    :param weeks: how many Mondays.
    :param mistakes: spoil three figures of the newest Monday in ways that are seen in real tables.
    """
    newest = until - timedelta(days=until.weekday())
    for kpi_id, _, baseline, target in kpis():
        rng = random.Random(kpi_id)  # noqa: S311 - reproducible, not secret
        reached = rng.uniform(0.3, 0.9)
        for week in range(weeks):
            day = newest - timedelta(weeks=weeks - 1 - week)
            share = reached * (week + 1) / weeks + rng.uniform(-0.12, 0.12)
            value = (baseline + (target - baseline) * Decimal(str(round(share, 4)))).quantize(baseline)
            letter = "G" if share > 0.66 * (week + 1) / weeks else "A" if share > 0.3 * (week + 1) / weeks else "R"
            yield kpi_id, day.isoformat(), str(value), letter, rng.choice(_NOTES[letter]) or None
    if mistakes:
        yield "fin-margin, net", newest.isoformat(), "0.031", "G", "An id with a comma"
        yield "ppl-sick-leave", newest.isoformat(), "0.052", "X", "A letter nobody agreed on"
        yield "acc-waiting-list", newest.isoformat(), "318", None, "No letter at all"


def fill(hook: Any, until: date, weeks: int = DEFAULT_WEEKS, *, mistakes: bool = False) -> int:
    """Replace the two tables and return how many figures there are now.

    :param hook: a DbApiHook.
    :param until: see :func:`figures`.
    :param weeks: see :func:`figures`.
    :param mistakes: see :func:`figures`.
    """
    rows = list(figures(until, weeks, mistakes=mistakes))
    for table, columns in TABLES.items():
        hook.run([f"drop table if exists {table}", f"create table {table} ({columns})"])
    hook.insert_rows("kpis", [(kpi_id, name) for kpi_id, name, _, _ in kpis()], target_fields=["kpi_id", "name"])
    hook.insert_rows("kpi_values", rows, target_fields=["kpi_id", "day", "value", "rag", "note"])
    return len(rows)


def main() -> int:
    """Fill the connection that the command line names."""
    parser = argparse.ArgumentParser(
        description="Fill a SQL connection of Airflow with KPI figures for the example DAGs."
    )
    parser.add_argument("--conn-id", default="warehouse", help="a SQL connection of Airflow (default: warehouse)")
    parser.add_argument(
        "--until",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        help="last day with figures (default: today)",
    )
    parser.add_argument("--weeks", type=int, default=DEFAULT_WEEKS, help=f"weeks of figures (default: {DEFAULT_WEEKS})")
    parser.add_argument("--mistakes", action="store_true", help="add three rows that cannot be pushed")
    arguments = parser.parse_args()

    from airflow.providers.common.compat.sdk import BaseHook

    hook = BaseHook.get_connection(arguments.conn_id).get_hook()
    count = fill(hook, arguments.until, arguments.weeks, mistakes=arguments.mistakes)
    print(f"{arguments.conn_id}: {count} figures in kpi_values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
