"""From an operator's arguments to a source of rows: connections and object stores are opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from airflow_provider_achieveit.operators.databases import database_hook
from airflow_provider_achieveit.updates.sources import Source


@contextmanager
def open_source(
    *,
    sql: str | None,
    conn_id: str | None,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
    path: str | None,
    path_conn_id: str | None,
    rows: Any,
) -> Iterator[Source]:
    """Open the one source that is given and close it at the end.

    :param sql: a query.
    :param conn_id: the connection it runs on.
    :param parameters: its bind parameters.
    :param path: a file on any object store.
    :param path_conn_id: the connection of that store, if it needs one.
    :param rows: rows at hand.
    :raises AirflowFailException: the connection is no database.
    :raises ValueError: the source is not what it should be.
    """
    if sql is not None:
        from airflow_provider_achieveit.updates.sources.sql import read_query

        with (
            closing(database_hook(str(conn_id)).get_conn()) as connection,
            closing(read_query(connection, sql, parameters)) as source,
        ):
            yield source
    elif path is not None:
        from airflow_provider_achieveit.operators.places import object_path
        from airflow_provider_achieveit.updates.sources.files import open_file

        with closing(open_file(object_path(path, path_conn_id))) as source:
            yield source
    else:
        from airflow_provider_achieveit.updates.sources.rows import read_rows

        yield read_rows(rows)
