"""Lineage of a submit: from a query's tables or a file to a plan, or to the endpoint of the updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_achieveit.api.contract import UpdateKind


def submit_lineage(
    *,
    kind: UpdateKind,
    achieveit_conn_id: str,
    plan_id: str | None,
    sql: str | None,
    conn_id: str | None,
    has_parameters: bool,
    path: str | None,
    result: dict[str, Any] | None,
) -> OperatorLineage[Any, Any]:
    """Return the lineage of a submit; rows at hand have no data set to come from.

    :param kind: progress or metric updates.
    :param achieveit_conn_id: id of the AchieveIt connection.
    :param plan_id: the plan, if it is known.
    :param sql: the query, if the rows come from one.
    :param conn_id: the connection it runs on.
    :param has_parameters: the query has places for parameters.
    :param path: the file, if they come from one.
    :param result: the task's result, if there is one.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_achieveit.lineage import datasets

    inputs: list[Any] = []
    job_facets: dict[str, Any] = {}
    if sql and conn_id:
        inputs, job_facets = datasets.query_tables(conn_id, sql, has_parameters=has_parameters)
    elif path:
        inputs = [datasets.read(datasets.file_name(path))]
    if plan_id:
        name = datasets.plan_name(achieveit_conn_id, plan_id)
    else:
        name = datasets.achieveit_name(achieveit_conn_id, f"{kind.value}updates")
    output = datasets.written(name, rows=result["rows_submitted"] if result else None)
    return OperatorLineage(inputs=inputs, outputs=[output], job_facets=job_facets)
