"""From an operator's arguments to a source of rows: connections and object stores are opened here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook

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
    :raises ValueError: the connection's hook cannot run queries, or the source cannot be read.
    """
    if sql is not None:
        from airflow_provider_achieveit.updates.sources.sql import read_query

        with (
            closing(database_hook(str(conn_id)).get_conn()) as connection,
            closing(read_query(connection, sql, parameters)) as source,
        ):
            yield source
    elif path is not None:
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        from airflow_provider_achieveit.updates.sources.files import open_file

        with closing(open_file(ObjectStoragePath(path, conn_id=path_conn_id))) as source:
            yield source
    else:
        from airflow_provider_achieveit.updates.sources.rows import read_rows

        yield read_rows(rows)


def database_hook(conn_id: str) -> Any:
    """Return the hook of a database connection.

    :param conn_id: id of the connection.
    :raises ValueError: its hook is no ``DbApiHook``.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    hook = BaseHook.get_connection(conn_id).get_hook()
    if not isinstance(hook, DbApiHook):
        raise ValueError(
            f"Connection {conn_id!r} cannot run SQL: its hook {type(hook).__name__} is no DbApiHook. Use the "
            "connection of a database, such as postgres or sqlite"
        )
    return hook
