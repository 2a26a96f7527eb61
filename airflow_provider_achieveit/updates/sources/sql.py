"""The rows of a query, over any DB-API 2.0 (PEP 249) connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any
from uuid import uuid4

from airflow_provider_achieveit.updates.sources import CHUNK_ROWS, Source, source_of_stream
from airflow_provider_achieveit.updates.sources.copy import copied

# What hides an ORDER BY that orders nothing of the result: text, comments, and any pair of parentheses, a window's too.
_TEXT_OR_COMMENT = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_PARENTHESES = re.compile(r"\([^()]*\)")
_ORDER_BY = re.compile(r"\border\s+by\b", re.IGNORECASE)


def read_query(connection: Any, sql: str, parameters: Any = None, batch_rows: int = CHUNK_ROWS) -> Source:
    """Run a query and return its rows as a source, read in bounded batches.

    The result stays on the server where the driver can do that: psycopg2, psycopg, mysqlclient and PyMySQL, whose
    ordinary cursors take the whole result into memory.

    PostgreSQL gives the rows as lines too, which is much quicker.

    SQL promises an order only where the statement asks for one, so its rows count as ordered only then.

    :param connection: an open connection; the caller closes it after the rows are read.
    :param sql: one statement that gives rows.
    :param parameters: its parameters in the driver's style (default: none).
    :param batch_rows: rows to fetch at a time.
    :raises ValueError: the statement gives no rows at all, not even none.
    """
    name, ordered = "the query", _asks_for_order(sql)
    stream = _stream(connection, sql, parameters, batch_rows)
    if found := copied(connection, sql, parameters):
        columns, lines = found
        return Source(name, columns, _rows(stream), ordered, lines)
    return source_of_stream(name, stream, ordered=ordered)


def _rows(stream: Iterator[Any]) -> Iterator[Any]:
    # The query runs when the first row is asked for.
    next(stream)
    yield from stream


def _asks_for_order(sql: str) -> bool:
    sql, found = _TEXT_OR_COMMENT.sub(" ", sql), 1
    while found:
        sql, found = _PARENTHESES.subn(" ", sql)
    return _ORDER_BY.search(sql) is not None


def _stream(connection: Any, sql: str, parameters: Any, batch_rows: int) -> Iterator[Any]:
    cursor = _cursor(connection)
    try:
        cursor.arraysize = batch_rows
        if parameters is None:
            # Given none at all, drivers leave percent signs alone.
            cursor.execute(sql)
        else:
            cursor.execute(sql, parameters)
        # psycopg2 describes a named cursor only once something was fetched.
        rows: Sequence[Any] = cursor.fetchmany(batch_rows) if _gives_rows(cursor) else ()
        if cursor.description is None:
            raise ValueError("the statement gives no rows; write a SELECT")
        names = [str(column[0]) for column in cursor.description]
        yield names
        while rows:
            if isinstance(rows[0], Mapping):
                yield from rows
            else:
                for row in rows:
                    yield dict(zip(names, row, strict=True))
            rows = cursor.fetchmany(batch_rows)
    finally:
        cursor.close()


def _gives_rows(cursor: Any) -> bool:
    return cursor.description is not None or getattr(cursor, "name", None) is not None


def _cursor(connection: Any) -> Any:
    """Return a cursor that leaves the result on the server, where the driver has one."""
    drivers = {cls.__module__.partition(".")[0] for cls in type(connection).__mro__}
    if "psycopg2" in drivers:
        from psycopg2.extensions import cursor

        # Outside a transaction only a cursor WITH HOLD lives on.
        return connection.cursor(_cursor_name(), cursor_factory=cursor, withhold=connection.autocommit)
    if "psycopg" in drivers:
        from psycopg.rows import tuple_row

        return connection.cursor(_cursor_name(), row_factory=tuple_row, withhold=connection.autocommit)
    for mysql in ("MySQLdb", "pymysql"):
        if mysql in drivers:
            return connection.cursor(import_module(f"{mysql}.cursors").SSCursor)
    return connection.cursor()


def _cursor_name() -> str:
    return f"achieveit_{uuid4().hex}"
