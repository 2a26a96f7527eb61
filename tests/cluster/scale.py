"""How much the tests at scale do, and with which plans and rows."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from airflow_provider_achieveit.api.contract import STATUSES

WAYS = (SIDE_BY_SIDE, SERIAL) = ("side_by_side", "serial")
"""How the same work is done: names of users of AchieveIt, of schemas of the warehouse and of tasks."""
PLANS = {user: str(uuid.uuid5(uuid.NAMESPACE_OID, f"plan of {user}")) for user in WAYS}
"""A plan for each user, who sees no other one; both have the same items."""

PUSHES = 200
"""Mapped pushes of one run, one KPI each."""
PUSHED_KPIS = [f"mapped-{number:03}" for number in range(PUSHES)]
PUSHED_DAYS = [date(2026, 3, 1) + timedelta(days=day) for day in range(20)]

DAILY_KPIS = [f"daily-{number:03}" for number in range(25)]
DAYS = [date(2026, 6, 1) + timedelta(days=day) for day in range(30)]
"""The days of the backfill."""
ACTIVE_RUNS = 6
"""Runs of the backfill that may be active at once."""

EXPORTED = {str(uuid.uuid5(uuid.NAMESPACE_OID, f"exported plan {number}")): 150 + 30 * number for number in range(19)}
"""Exported plans with their numbers of items."""
EXPORTED[str(uuid.uuid5(uuid.NAMESPACE_OID, "large exported plan"))] = 1_700
EXPORT_LOADS = {"replace": 1, "scd2": 2}
"""The modes of the exports, with how often each is done; the plans change in between."""

SOURCES = {"pushed_values": (PUSHED_KPIS, PUSHED_DAYS), "daily_values": (DAILY_KPIS, DAYS)}
"""The warehouse's tables of KPI values, with their KPIs and days."""
COLUMNS = {"external_id": "kpi", "status": "rag", "metric_value": "value", "as_of_date": "day", "comment": "note"}


def items() -> list[dict[str, Any]]:
    """Return the items of a plan of :data:`PLANS`, as the simulator takes them."""
    created = "2026-01-01T00:00:00Z"
    return [{"externalId": kpi, "hasMetric": True, "created": created} for kpi in (*PUSHED_KPIS, *DAILY_KPIS)]


def kpi_values(kpis: Sequence[str], days: Sequence[date]) -> list[dict[str, Any]]:
    """Return the source rows: one value of each KPI a day, now and then without a note."""
    rng = random.Random(f"{kpis[0]} {days[0]}")
    return [
        {
            "kpi": kpi,
            "day": day,
            "rag": rng.choice(STATUSES),
            "value": Decimal(rng.randrange(-(10**9), 10**9)).scaleb(-rng.randrange(5)),
            "note": rng.choice([f"{kpi}, {day:%d %B}", 'Größe "L"; µ < 5 %', None]),
        }
        for kpi in kpis
        for day in days
    ]
