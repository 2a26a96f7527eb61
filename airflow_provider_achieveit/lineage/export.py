"""Lineage of an export: from a plan to tables or a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


def table_lineage(
    *,
    achieveit_conn_id: str,
    plan_id: str,
    conn_id: str,
    schema: str | None,
    tables: Sequence[str],
    result: dict[str, Any] | None,
) -> OperatorLineage[Any, Any]:
    """Return the lineage of an export into tables.

    :param achieveit_conn_id: id of the AchieveIt connection.
    :param plan_id: the plan.
    :param conn_id: connection of the database.
    :param schema: schema of the tables; None or empty: the default one.
    :param tables: their names, that of the items first.
    :param result: the task's result, if there is one: the items inserted and updated are the rows written.
    """
    from airflow_provider_achieveit.lineage import datasets

    rows = {tables[0]: result["inserted"] + result["updated"]} if result else {}
    return _lineage(achieveit_conn_id, plan_id, datasets.warehouse_tables(conn_id, schema, tables, rows=rows))


def file_lineage(
    *, achieveit_conn_id: str, plan_id: str, path: str, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Return the lineage of an export into a file.

    :param achieveit_conn_id: id of the AchieveIt connection.
    :param plan_id: the plan.
    :param path: the file.
    :param result: the task's result, if there is one.
    """
    from airflow_provider_achieveit.lineage import datasets

    counts = {"rows": result["items"], "size": result["bytes"]} if result else {}
    return _lineage(achieveit_conn_id, plan_id, [datasets.written(datasets.file_name(path), **counts)])


def _lineage(achieveit_conn_id: str, plan_id: str, outputs: list[Any]) -> OperatorLineage[Any, Any]:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_achieveit.lineage import datasets

    plan = datasets.read(datasets.plan_name(achieveit_conn_id, plan_id))
    return OperatorLineage(inputs=[plan], outputs=outputs)
