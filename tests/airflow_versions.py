"""The installed Airflow, and what it lacks: marks for tests of what only a newer one has."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

try:
    AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:3])
except PackageNotFoundError:
    # The dialects of other warehouses are tested without it: nothing there is older than it should be.
    AIRFLOW = (99,)
# The version for which the warnings of Airflow itself and of its parts are watched.
NEWEST = AIRFLOW >= (3, 3)
_COMPAT = "airflow.providers.common.compat.sdk"
_ALERTS = "AsyncCallback, DeadlineAlert, DeadlineReference"
_OLD_ALERTS = f"from airflow.sdk.definitions.deadline import {_ALERTS}"


def for_this_airflow(source: str) -> str:
    """Return code of a page as people with this Airflow write it: not all names have always been in ``airflow.sdk``."""
    if AIRFLOW < (3,):
        return source.replace("from airflow.sdk import", f"from {_COMPAT} import")
    if AIRFLOW < (3, 2):
        return source.replace("from airflow.sdk import DAG, " + _ALERTS, f"{_OLD_ALERTS}\nfrom airflow.sdk import DAG")
    return source


def _needs(since: tuple[int, int], what: str) -> Any:
    return pytest.mark.skipif(since > AIRFLOW, reason=f"Airflow {since[0]}.{since[1]} brings {what}")


needs_asset_names = _needs((3, 0), "assets with names of their own")
needs_nested_tasks = _needs((3, 0), "tasks that run while another one runs in the same process")
needs_asset_watchers = _needs((3, 0), "watchers of assets")
needs_more_timetables = _needs((3, 0), "schedules of several times")
needs_backfills = _needs((3, 0), "backfills that the scheduler runs")
needs_runs_without_dates = _needs((3, 0), "runs without a logical date")
needs_pages_of_plugins = _needs((3, 1), "a place in its menu for pages of plugins")
needs_deadlines = _needs((3, 1), "deadline alerts")
needs_connection_forms_without_wtforms = _needs((3, 1), "connection forms without WTForms")
needs_dry_runs = pytest.mark.skipif((3, 0) <= AIRFLOW < (3, 1), reason="Airflow 3.0 has no dry runs of operators")
needs_partitions = _needs((3, 2), "schedules with partitions")
needs_runs_of_materialized_assets = _needs((3, 2), "a type for runs that materialize an asset")
needs_provider_commands = _needs((3, 2), "commands of providers in the airflow command")
needs_airflow_of_compose = pytest.mark.skipif(not NEWEST, reason="docker-compose.yaml runs Airflow 3.3")
needs_airflow_of_benchmarks = pytest.mark.skipif(not NEWEST, reason="benchmarks measure Airflow 3.3")
needs_task_state_store = _needs((3, 3), "the task state store")
needs_connection_tests_of_workers = _needs((3, 3), "connection tests on a worker")
needs_runs_of_operators = _needs((3, 3), "a type for runs that an operator triggers")
needs_retry_policies = _needs((3, 3), "retry policies of tasks")
needs_shared_streams = _needs((3, 3), "streams that watchers share")
