"""Data sets as OpenLineage names them; imported when OpenLineage asks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow.providers.common.compat.openlineage.facet import (
    Dataset,
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
    SQLJobFacet,
)
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_achieveit.assets.plan import SCHEME, api_host
from airflow_provider_achieveit.assets.targets import file_address
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.operators.databases import database_hook

_PLACE = re.compile(r"%\(\w+\)s|%s")
"""Where a parameter goes, as most drivers of databases have it."""


class Name(NamedTuple):
    """By what OpenLineage knows a data set.

    :param namespace: the system that it is in.
    :param name: its name there.
    """

    namespace: str
    name: str


def achieveit_name(achieveit_conn_id: str, name: str) -> Name:
    """Return the full name of something in AchieveIt.

    :param achieveit_conn_id: id of the connection.
    :param name: its name there.
    """
    with AchieveItHook(achieveit_conn_id).get_conn() as client:
        return Name(f"{SCHEME}://{api_host(client.config.base_url)}", name)


def plan_name(achieveit_conn_id: str, plan_id: str) -> Name:
    """Return the full name of a plan, which is that of its asset.

    :param achieveit_conn_id: id of the connection.
    :param plan_id: the plan.
    """
    return achieveit_name(achieveit_conn_id, f"plans/{quote(plan_id, safe='')}")


def file_name(path: str) -> Name:
    """Return the full name of a file, without the query of a web address: that may be what gives access to it.

    :param path: as ``ObjectStoragePath`` has it.
    """
    scheme, _, rest = file_address(path).partition("://")
    if scheme in ("http", "https"):
        rest = rest.partition("?")[0]
    if scheme == "file":
        return Name("file", rest)
    store, _, name = rest.partition("/")
    return Name(f"{scheme}://{store}", name)


def read(name: Name) -> InputDataset:
    """Return a data set that a task reads.

    :param name: its full name.
    """
    return InputDataset(*name)


def written(name: Name, *, rows: int | None = None, size: int | None = None) -> OutputDataset:
    """Return a data set that a task writes.

    :param name: its full name.
    :param rows: how many rows the task wrote, if that is known.
    :param size: how many bytes, if that is known.
    """
    if rows is None:
        return OutputDataset(*name)
    statistics = OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size)
    return OutputDataset(*name, outputFacets={"outputStatistics": statistics})


def query_tables(conn_id: str, sql: str, *, has_parameters: bool) -> tuple[list[Dataset], dict[str, Any]]:
    """Return the tables that a query reads, and the facets of a job that runs it.

    :param conn_id: the connection it runs on; a hook that tells OpenLineage nothing of its database gives no tables.
    :param sql: the query.
    :param has_parameters: it has places for parameters.
    """
    from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql

    # OpenLineage's parser finds no tables in a query with such places.
    parsable = _PLACE.sub("null", sql) if has_parameters else sql
    found = get_openlineage_facets_with_sql(database_hook(conn_id), parsable, conn_id, None)
    return ([], {}) if found is None else (found.inputs, {"sql": SQLJobFacet(query=sql)})


def warehouse_tables(
    conn_id: str, schema: str | None, tables: Iterable[str], *, rows: dict[str, int] | None = None
) -> list[OutputDataset]:
    """Return tables that a task writes, with their columns where they exist.

    :param conn_id: connection of the database.
    :param schema: schema of the tables; None or empty: the default one.
    :param tables: their names.
    :param rows: how many rows the task wrote, by the name of the table, where that is known.
    """
    import sqlalchemy

    hook = database_hook(conn_id)
    engine = hook.get_sqlalchemy_engine()
    try:
        inspector = sqlalchemy.inspect(engine)
        schema = schema or inspector.default_schema_name
        namespace, prefix = _database(hook, conn_id, engine, schema)
        found = []
        for table in tables:
            dataset = written(Name(namespace, f"{prefix}{table}"), rows=(rows or {}).get(table))
            if inspector.has_table(table, schema=schema):
                fields = [
                    SchemaDatasetFacetFields(name=column["name"], type=str(column["type"]))
                    for column in inspector.get_columns(table, schema=schema)
                ]
                dataset.facets = {"schema": SchemaDatasetFacet(fields=fields)}
            found.append(dataset)
        return found
    finally:
        engine.dispose()


def _database(hook: Any, conn_id: str, engine: Any, schema: str | None) -> tuple[str, str]:
    """Return the namespace of a database, and what stands before the names of a schema's tables."""
    from airflow.providers.openlineage.sqlparser import SQLParser

    info = hook.get_openlineage_database_info(BaseHook.get_connection(conn_id))
    if info is not None:
        parts = (info.database, schema)
        return SQLParser.create_namespace(info), "".join(f"{part}." for part in parts if part)
    # Airflow's hook tells nothing: by the pattern of those that do. Of SQLite and DuckDB the file is the authority.
    url = engine.url
    authority = f"{url.host}:{url.port}" if url.host and url.port else url.host or url.database or ""
    return f"{engine.dialect.name}://{authority}", f"{schema}." if schema else ""
