"""The rows of the cluster tests; their comments tell them apart in AchieveIt."""

from __future__ import annotations

from typing import Any

ROWS = 3
"""Rows of a task; each is a batch of its own."""
MANY = 50
"""Tasks that are deferred at once."""
POOLED = 6
"""Tasks in a pool of fewer slots."""


def comment(dag_id: str, task_id: str, number: int) -> str:
    return f"{dag_id} {task_id} {number}"


def rows(dag_id: str, task_id: str, numbers: range = range(ROWS)) -> list[dict[str, Any]]:
    return [
        {
            "external_id": f"kpi-{number}",
            "status": "On Track",
            "metric_value": number,
            "as_of_date": "2026-01-05",
            "comment": comment(dag_id, task_id, number),
        }
        for number in numbers
    ]
