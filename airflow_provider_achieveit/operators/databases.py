"""The databases that operators read from and write to, through Airflow's connections."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook


def database_hook(conn_id: str) -> Any:
    """Return the hook of a database connection.

    :param conn_id: id of the connection.
    :raises AirflowFailException: its hook is no ``DbApiHook``; a retry would not change that.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    connection = BaseHook.get_connection(conn_id)
    hook = connection.get_hook()
    if not isinstance(hook, DbApiHook):
        raise AirflowFailException(
            f"Connection {conn_id!r} is of type {connection.conn_type!r}, which is no SQL database. Give conn_id a "
            "connection such as postgres or sqlite"
        )
    return hook
