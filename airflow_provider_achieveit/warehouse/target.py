"""The tables of the warehouse: named, looked at, made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Index, MetaData, Table
from sqlalchemy.engine import Connection

from airflow_provider_achieveit.warehouse import model
from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.databases.catalog import Catalog, FoundColumn, catalog_of
from airflow_provider_achieveit.warehouse.errors import TableMismatchError
from airflow_provider_achieveit.warehouse.types import fits, sql_type


@dataclass(frozen=True, slots=True)
class TablePair:
    """A table of the plan: what rows it gets, where they are staged, and where they go."""

    model: model.Table
    staged: Table
    target: Table

    @property
    def emptied(self) -> list[Column[object]]:
        """The columns of lists that loads with another ``nested`` filled, and this one empties."""
        lists = (column for column in self.target.c if column.info["model"].source in model.LISTS)
        return [column for column in lists if column.name not in self.staged.c]


@dataclass(frozen=True, slots=True)
class PlanTables:
    """All tables of a load.

    :param mode: what loads leave of what was there.
    :param pairs: those of the plan, the items' first.
    :param changes: the temporary list of rows that the load changes.
    :param loads: tells the last load of each plan.
    """

    mode: model.Mode
    pairs: tuple[TablePair, ...]
    changes: Table
    loads: Table

    @property
    def items(self) -> TablePair:
        """The items' table."""
        return self.pairs[0]

    @property
    def name(self) -> str:
        """The items' table, as messages call it."""
        return self.items.target.fullname

    @property
    def kept(self) -> tuple[Table, ...]:
        """The tables of the warehouse."""
        return (*(pair.target for pair in self.pairs), self.loads)

    @property
    def temporary(self) -> tuple[Table, ...]:
        """The tables that only this connection sees, and that whatever kills it takes along."""
        return (*(pair.staged for pair in self.pairs), self.changes)


def plan_tables(
    name: str, schema: str | None, nested: model.Nested, mode: model.Mode, database: Database | type[Database]
) -> PlanTables:
    """Return the tables of a load as SQLAlchemy tables.

    :param name: name of the items' table; the other tables' names begin with it.
    :param schema: schema of the tables; None: the connection's default.
    :param nested: what becomes of the lists in an item.
    :param mode: what loads leave of what was there.
    :param database: the warehouse.
    """
    metadata = MetaData()
    # A temporary table hides one of the same name in the default schema.
    stage = "plan_stage" if name.lower().startswith("achieveit_stage") else "achieveit_stage"

    def temporary(table: model.Table) -> Table:
        columns = _columns(table, keyed=database.keyed_staging)
        prefixes = [database.temporary] if database.temporary else []
        name = f"{database.temporary_name}{stage}{table.suffix}"
        return _unclustered(Table(name, metadata, *columns, prefixes=prefixes, oracle_on_commit="PRESERVE DEFINITION"))

    def kept(table: model.Table) -> Table:
        columns = _columns(table)
        # Most rows of a history are closed; a load looks at the current ones. With the rest of the key: SQLite would
        # look for one among all that are current.
        rest = (name for name in table.key if name not in (model.PLAN_ID.name, model.VALID_FROM.name))
        indexed = database.indexes and model.VALID_TO in table.columns
        current = [Index(None, model.PLAN_ID.name, model.VALID_TO.name, *rest)] if indexed else []
        return _unclustered(Table(f"{name}{table.suffix}", metadata, *columns, *current, schema=schema))

    return PlanTables(
        mode,
        tuple(
            TablePair(table, temporary(table), kept(model.in_mode(table, mode))) for table in model.plan_tables(nested)
        ),
        temporary(model.CHANGES),
        kept(model.loads_table(mode)),
    )


def _columns(table: model.Table, *, keyed: bool = True) -> Iterable[Column[object]]:
    for column in table.columns:
        yield Column(
            column.name,
            sql_type(column),
            primary_key=column.key and keyed,
            nullable=not column.key,
            autoincrement=False,
            info={"model": column},
        )


def _unclustered(table: Table) -> Table:
    """Let SQL Server keep the key apart from the rows: so it may have 1700 bytes instead of 900."""
    table.primary_key.dialect_options["mssql"]["clustered"] = False
    return table


def check_names(tables: PlanTables, database: Database) -> None:
    """Refuse a table name that the database would cut short, so that two tables became one.

    :raises TableMismatchError: names the table and the limit.
    """
    longest = database.longest_name or database.engine.dialect.max_identifier_length
    for table in tables.kept:
        if len(table.name.encode()) > longest:
            raise TableMismatchError(
                f"The table name {table.name!r} is longer than the {longest} bytes this "
                "database allows. Choose a shorter name for 'table'."
            )


def missing(connection: Connection, tables: PlanTables) -> list[Table | Column[object]]:
    """Look at the warehouse, change nothing, and return the tables it does not have, and columns of those it has.

    Older models had fewer columns; :mod:`.growth` makes what is missing.

    :raises TableMismatchError: the schema does not exist, or a table there is of another mode, or cannot take the rows.
    """
    catalog = catalog_of(connection)
    schema = tables.loads.schema
    if schema and not catalog.has_schema(schema):
        raise TableMismatchError(f"The schema {schema!r} does not exist in the warehouse. Create it first.")
    lacking: list[Table | Column[object]] = []
    for table in tables.kept:
        present = catalog.columns(table.name, table.schema)
        if not present:
            lacking.append(table)
            continue
        mismatch = _mismatch(catalog, table, present, tables.mode)
        if mismatch:
            raise TableMismatchError(f"{mismatch} Or name another 'table'. Nothing was written.")
        lacking += [column for column in table.columns if column.name not in present]
    return lacking


def abandoned_pairs(
    connection: Connection,
    name: str,
    schema: str | None,
    nested: model.Nested,
    mode: model.Mode,
    database: Database,
) -> tuple[TablePair, ...]:
    """Return the child tables that loads with another ``nested`` made, and this one does not fill.

    A table of such a name that could not take the rows is somebody else's.
    """
    if nested is model.Nested.TABLES:
        return ()
    catalog = catalog_of(connection)
    return tuple(
        pair
        for pair in plan_tables(name, schema, model.Nested.TABLES, mode, database).pairs[1:]
        if (present := catalog.columns(pair.target.name, schema)) and not _mismatch(catalog, pair.target, present, mode)
    )


def abandoned_lists(connection: Connection, tables: PlanTables) -> list[Column[object]]:
    """Return the columns of lists in the items' table that loads with another ``nested`` made, and this one leaves.

    They were made all together; if any is missing, or could not take a list, the others are somebody else's.
    """
    items = tables.items
    [table] = model.plan_tables(model.Nested.JSON)
    columns = [column for column in table.columns if column.source in model.LISTS and column.name not in items.staged.c]
    present = catalog_of(connection).columns(items.target.name, items.target.schema)
    if not all(
        column.name in present and fits(present[column.name].type, column, connection.dialect) for column in columns
    ):
        return []
    return [*_columns(model.Table("", tuple(columns)))]


_ALWAYS = (model.EXTRA, model.EXTRACTED_AT, model.DELETED_AT, model.VALID_TO)
"""What tables have had from the beginning; one that lacks any of these, or of its key, is not of our making."""


def _mismatch(catalog: Catalog, table: Table, present: Mapping[str, FoundColumn], mode: model.Mode) -> str | None:
    """Tell why something of a table's name cannot take its rows, and what to do."""
    if not catalog.is_table(table.name, table.schema):
        return (
            f"{table.fullname} exists but is a view or something else that is no table of "
            f"{f'the schema {table.schema!r}' if table.schema else 'the default schema'}. Remove it, or give the "
            "'schema' of the table."
        )
    dialect, found = catalog.connection.dialect, model.mode_of(present)
    if found is not model.mode_of(table.columns.keys()):
        return (
            f"The table {table.fullname} is one of mode {found.value!r}, which a load of mode {mode.value!r} would "
            f"spoil. Load it with mode={found.value!r}, or remove it and the tables beside it."
        )
    lacking = [column for column in table.columns if column.name not in present]
    if any(column.primary_key or column.info["model"] in _ALWAYS for column in lacking):
        names = ", ".join(column.name for column in lacking)
        return f"The table {table.fullname} exists but lacks the column(s) {names}. Add them."
    unfit = [
        f"{column.name} is {present[column.name].type} instead of {column.type.compile(dialect=dialect)}"
        for column in table.columns
        if column.name in present and not fits(present[column.name].type, column.info["model"], dialect)
    ]
    if unfit:
        return (
            f"The table {table.fullname} exists but its columns would change values: {', '.join(unfit)}. "
            "Change their types."
        )
    unfilled = [name for name, column in present.items() if name not in table.columns and column.must_be_given]
    if unfilled:
        return (
            f"The table {table.fullname} has NOT NULL column(s) of its own without a default, which a load cannot "
            f"fill: {', '.join(unfilled)}. Give them a default, or let them be NULL."
        )
    return None
