"""Loading a plan: pages are staged beside the tables, then one transaction puts them in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Table, Text, cast, delete, func, insert, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from airflow_provider_achieveit.warehouse import model
from airflow_provider_achieveit.warehouse.compare import Changes, changes
from airflow_provider_achieveit.warehouse.databases import Database, database_of
from airflow_provider_achieveit.warehouse.errors import NewerStateError, TooManyDeletesError, WarehouseError
from airflow_provider_achieveit.warehouse.rows import Rows
from airflow_provider_achieveit.warehouse.target import (
    TablePair,
    abandoned_tables,
    check_names,
    missing_tables,
    table_pairs,
)


class PlanLoad:
    """One load of one plan; made by :func:`plan_load`.

    The order of calls: :meth:`write` for every page (:meth:`clear` to begin anew), then :meth:`replace`.
    """

    def __init__(
        self, database: Database, connection: Connection, pairs: tuple[TablePair, ...], abandoned: list[Table]
    ) -> None:
        self.database, self.connection, self.pairs, self.abandoned = database, connection, pairs, abandoned

    @property
    def _name(self) -> str:
        return self.pairs[0].target.fullname

    @property
    def null_bytes(self) -> bool:
        """Whether text may hold U+0000."""
        return self.database.null_bytes

    def clear(self) -> None:
        """Forget all staged rows."""
        with self.connection.begin():
            for pair in self.pairs:
                self.connection.execute(delete(pair.staged))

    def write(self, rows: Rows) -> None:
        """Stage the rows of one page; the warehouse's tables are not touched, nor locked."""
        with _refusal_told(self.connection, self._name), self.connection.begin():
            for pair in self.pairs:
                if rows[pair.model.suffix]:
                    self.database.write(self.connection, pair.staged, rows[pair.model.suffix])

    def replace(self, plan_id: str, *, extracted_at: datetime, max_delete_ratio: float) -> Changes:
        """Put the staged rows in the place of all rows of a plan, in one transaction.

        Readers see the plan as it was, or as it is now; other plans in the same tables are not touched, nor blocked.
        Missing tables are made in the same transaction.

        :param plan_id: the plan whose rows are staged.
        :param extracted_at: when they were read.
        :param max_delete_ratio: refuse if more than this share (0 to 1) of the plan's items would vanish.
        :return: what changed, in items.
        :raises NewerStateError: what is there was read later; nothing was written.
        :raises TooManyDeletesError: more would vanish; nothing was written.
        :raises TableMismatchError: the tables cannot take the rows; nothing was written.
        :raises WarehouseError: the database refused a row or a statement; nothing was written.
        """
        with _refusal_told(self.connection, self._name), self.connection.begin():
            self.database.use_utc(self.connection)
            for pair in self.pairs:
                self.database.analyze(self.connection, pair.staged)
            self._create_missing()
            # Two loads of one plan (a retry, and the worker that was thought dead) go one after the other.
            self.database.lock(self.connection, f"achieveit plan {self._name} {plan_id}")
            self._check_newest(plan_id, extracted_at)
            found = changes(self.connection, self.pairs, plan_id)
            _guard(found, plan_id, self._name, max_delete_ratio)
            for pair in self.pairs:
                names = pair.target.columns.keys()
                self.connection.execute(delete(pair.target).where(pair.target.c.plan_id == plan_id))
                self.connection.execute(insert(pair.target).from_select(names, select(*pair.staged.columns)))
            for child in self.abandoned:
                self.connection.execute(delete(child).where(child.c.plan_id == plan_id))
            return found

    def _check_newest(self, plan_id: str, extracted_at: datetime) -> None:
        """Refuse to go back in time: a slow task may end after one that began later."""
        target = self.pairs[0].target
        read_at = target.c[model.EXTRACTED_AT.name]
        newer = self.connection.execute(
            # As text: only for the message, whatever somebody else may have written there.
            select(cast(func.max(read_at), Text)).where(target.c.plan_id == plan_id, read_at > extracted_at)
        ).scalar_one()
        if newer:
            raise NewerStateError(
                f"Plan {plan_id} in {self._name} was read at {newer}, after this task read it at {extracted_at}: the "
                "newer state stays, and nothing was written. If that moment is wrong (a clock that was ahead), correct "
                f"{read_at.name} in the table and run again."
            )

    def _create_missing(self) -> None:
        if not missing_tables(self.connection, self.pairs):
            return
        # Tasks of a first run make the tables at the same time; IF NOT EXISTS alone may still collide.
        self.database.lock(self.connection, f"achieveit tables {self._name}")
        for table in missing_tables(self.connection, self.pairs):
            table.create(self.connection)


@contextmanager
def plan_load(engine: Engine, *, table: str, schema: str | None, nested: model.Nested) -> Iterator[PlanLoad]:
    """Open a load; the tables are looked at before anything else is done.

    Needs one database session for its whole time (staging tables are temporary): a connection pool in front of the
    database must not work per transaction.

    :param engine: an engine of the warehouse that nobody has connected with yet; disposed of at the end.
    :param table: name of the items' table; the child tables' names begin with it.
    :param schema: schema of the tables; None: the connection's default.
    :param nested: what becomes of the lists in an item.
    :raises TableMismatchError: the tables cannot take the rows.
    :raises WarehouseError: the database does not allow a load.
    """
    pairs = table_pairs(table, schema, nested)
    database = database_of(engine)
    try:
        check_names(pairs, engine.dialect)
        with engine.connect() as connection:
            with connection.begin():
                missing_tables(connection, pairs)
                abandoned = abandoned_tables(connection, table, schema, nested)
            with _refusal_told(connection, pairs[0].target.fullname), connection.begin():
                for pair in pairs:
                    pair.staged.create(connection, checkfirst=False)
            yield PlanLoad(database, connection, pairs, abandoned)
    finally:
        engine.dispose()


@contextmanager
def _refusal_told(connection: Connection, table: str) -> Iterator[None]:
    """Tell what the database refused and would refuse again; a lost connection or a lock timeout is raised as it is."""
    refusals = (DataError, IntegrityError, ProgrammingError)
    # COPY goes past SQLAlchemy, and so raises the driver's own.
    of_driver = tuple(getattr(connection.dialect.dbapi, refusal.__name__) for refusal in refusals)
    try:
        yield
    except (*refusals, *of_driver) as error:
        told = str(getattr(error, "orig", error)).strip()
        raise WarehouseError(
            f"The database refused the load into {table}. Nothing was written. Mend what it says, or name another "
            f"'table'. It says: {told}"
        ) from error


def _guard(found: Changes, plan_id: str, table: str, max_delete_ratio: float) -> None:
    if found.before and found.deleted > max_delete_ratio * found.before:
        raise TooManyDeletesError(
            f"Plan {plan_id}: {found.deleted} of its {found.before} items in {table} "
            f"({found.deleted / found.before:.0%}) would vanish, more than max_delete_ratio={max_delete_ratio} allows. "
            "Nothing was written. If they are really gone from the plan, run once with a higher max_delete_ratio."
        )
