"""The rows of a PostgreSQL query as text: ``COPY (query) TO STDOUT``, without an object for every value.

It is used only where its text surely means the same as the values of an ordinary cursor: the driver is known, the
server takes the query within COPY, dates come in ISO form, and the session limits no statement's time. Anything else is
left to the ordinary cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from io import BufferedWriter, RawIOBase
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any

from airflow_provider_achieveit.updates.sources import Lines

_PIECE_BYTES = 1 << 17
_UNSENT_SECONDS = 0.01
"""So long after it is looked again whether a long statement can be sent on."""
# Redshift says that it is 8.0, and has no COPY to a client.
_MIN_SERVER_VERSION = 90200
# As a cursor does: parallel workers give rows that ORDER BY does not tell apart, and sums of floats, anew in every run.
_ALONE = b"SET LOCAL max_parallel_workers_per_gather TO 0;"
# Both in one message, which is a transaction where there is none yet.
_COPY = _ALONE + b"COPY (\n%b\n) TO STDOUT (FORMAT text, ENCODING 'UTF8')"


def _or_text(read: Callable[[str], Any]) -> Callable[[str], Any]:
    # Infinity and years that Python has not: their text tells a person more than an error of the driver.
    def read_or_text(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            return text

    return read_or_text


_READERS: dict[int, Callable[[str], Any]] = {
    **dict.fromkeys((25, 1042, 1043, 2950), str),  # text, char(n), varchar, uuid
    **dict.fromkeys((20, 21, 23), int),  # bigint, smallint, integer
    1700: Decimal,
    **dict.fromkeys((700, 701), float),  # real, double precision
    1082: _or_text(date.fromisoformat),
    **dict.fromkeys((1114, 1184), _or_text(datetime.fromisoformat)),  # timestamp, timestamptz
}
"""What makes a value of the text of a type; PostgreSQL's numbers of its types never change."""


def copied(connection: Any, sql: str, parameters: Any) -> tuple[tuple[str, ...], Lines] | None:
    """Return the columns and the lines of a query, which does not run before they are poured.

    :param connection: an open connection of any driver.
    :param sql: one statement that gives rows.
    :param parameters: its parameters in the driver's style; None: none.
    :return: None where an ordinary cursor must do.
    """
    driver = next(
        (name for cls in type(connection).__mro__ if (name := cls.__module__.partition(".")[0]) in _DRIVERS), ""
    )
    if not driver or connection.info.server_version < _MIN_SERVER_VERSION:
        return None
    if not (connection.info.parameter_status("DateStyle") or "").startswith("ISO"):
        return None
    statements = _DRIVERS[driver](connection)
    query = statements.bound(sql, parameters).rstrip(b" \t\r\n;")
    # A line break ends a comment.
    no_rows = b"SELECT * FROM (\n%b\n) AS query LIMIT 0" % query
    in_transaction = not connection.autocommit
    with closing(statements.cursor()) as cursor:
        if in_transaction:
            cursor.execute("SAVEPOINT achieveit_copy")
        try:
            cursor.execute("SELECT WHERE current_setting('statement_timeout') <> '0'")
            limited = cursor.rowcount > 0
            cursor.execute(no_rows)
            columns = [(str(column[0]), _READERS.get(column[1])) for column in cursor.description]
            statements.copy(_COPY % no_rows, len)
        except import_module(driver).Error:
            if in_transaction:
                cursor.execute("ROLLBACK TO SAVEPOINT achieveit_copy")
            return None
        if in_transaction:
            cursor.execute("RELEASE SAVEPOINT achieveit_copy")
    # COPY is one statement until its last row is checked; a cursor's limit is for some of the rows at a time.
    if limited or not columns:
        return None
    names, readers = (tuple(told) for told in zip(*columns, strict=True))
    return names, Lines(readers, lambda take: statements.copy(_COPY % query, take))


class _Psycopg2:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def cursor(self) -> Any:
        from psycopg2.extensions import cursor

        return self._connection.cursor(cursor_factory=cursor)

    def bound(self, sql: str, parameters: Any) -> bytes:
        with closing(self.cursor()) as cursor:
            statement: bytes = cursor.mogrify(sql, parameters)
            return statement

    def copy(self, statement: bytes, take: Callable[[str], object]) -> None:
        with _pieces(take) as pieces, closing(self.cursor()) as cursor:
            cursor.copy_expert(statement, pieces)


class _Psycopg:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def cursor(self) -> Any:
        from psycopg import ClientCursor

        return ClientCursor(self._connection)

    def bound(self, sql: str, parameters: Any) -> bytes:
        from psycopg.types.numeric import FloatDumper

        class Float8(FloatDumper):
            """A float stays one, as it does where the server binds it; written plainly it would be a numeric."""

            def quote(self, obj: Any) -> bytes:
                return b"'%b'::float8" % bytes(self.dump(obj) or b"")

        cursor = self.cursor()
        cursor.adapters.register_dumper(float, Float8)
        statement: str = cursor.mogrify(sql, parameters)
        return statement.encode(self._connection.info.encoding)

    def copy(self, statement: bytes, take: Callable[[str], object]) -> None:
        # With libpq's own functions: psycopg's way to a row takes longer than all that is done with it then.
        from psycopg.errors import error_from_result
        from psycopg.pq import ExecStatus

        libpq = self._connection.pgconn
        with _pieces(take) as pieces, DefaultSelector() as answers:
            answers.register(libpq.socket, EVENT_READ)

            def answer() -> Any:
                # libpq's own wait for an answer would let no signal through: neither a timeout nor a kill of the task.
                while (unsent := libpq.flush()) or libpq.is_busy():
                    answers.select(_UNSENT_SECONDS if unsent else None)
                    libpq.consume_input()
                return libpq.get_result()

            get, write = libpq.get_copy_data, pieces.write
            libpq.send_query(statement)
            failed = None
            while result := answer():
                if result.status == ExecStatus.COPY_OUT:
                    while (size := (told := get(1))[0]) >= 0:
                        if size:
                            write(told[1])
                        else:
                            answers.select()
                            libpq.consume_input()
                elif result.status != ExecStatus.COMMAND_OK:
                    failed = failed or result
            if failed:
                raise error_from_result(failed, encoding=self._connection.info.encoding)


_DRIVERS: dict[str, type[_Psycopg2] | type[_Psycopg]] = {"psycopg2": _Psycopg2, "psycopg": _Psycopg}


@contextmanager
def _pieces(take: Callable[[str], object]) -> Iterator[IO[bytes]]:
    """Give a file that hands what is written to it to a function, many whole lines at a time."""
    cut = _Cut(take)
    with BufferedWriter(cut, _PIECE_BYTES) as file:
        try:
            yield file
            file.flush()
        except BaseException:
            cut.take = len  # closing the file must not hand on what is left in it
            raise


class _Cut(RawIOBase):
    def __init__(self, take: Callable[[str], object]) -> None:
        super().__init__()
        self.take = take
        self._rest = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        piece = self._rest + bytes(data)
        whole = piece.rfind(b"\n") + 1
        self._rest = piece[whole:]
        if whole:
            self.take(piece[:whole].decode())
        return len(data)
