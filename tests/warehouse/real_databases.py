"""Real databases for tests: what is in them, read with their own drivers."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import duckdb_engine
import psycopg2
import psycopg2.extras
import sqlalchemy
from sqlalchemy.engine import Engine, make_url

from tests import mariadb, postgres


@dataclass
class Warehouse:
    """One database, written by the code under test and read with the database's own driver."""

    url: str
    schema: str | None
    airflow_connection: str = ""

    @property
    def kind(self) -> str:
        """``sqlite``, ``postgresql``, ``mysql`` or ``duckdb``."""
        return make_url(self.url).get_backend_name()

    @property
    def sqlite(self) -> bool:
        return self.kind == "sqlite"

    @property
    def unlimited_decimals(self) -> bool:
        """A decimal comes back with the digits it was written with, zeros too."""
        return self.kind in ("sqlite", "postgresql")

    def engine(self) -> Engine:
        return sqlalchemy.create_engine(self.url)

    def connect(self) -> Any:
        """Return a connection of the driver, which sees what any other program would see; every query stands alone."""
        url = make_url(self.url)
        if self.kind == "sqlite":
            return sqlite3.connect(url.database or "", timeout=60, isolation_level=None)
        if self.kind == "duckdb":
            # All connections of a process to a file must have the settings of the first.
            agent = f"duckdb_engine/{duckdb_engine.__version__}(sqlalchemy/{sqlalchemy.__version__})"
            connection = duckdb.connect(url.database or "", config={"custom_user_agent": agent})
            connection.execute("SET TimeZone = 'UTC'")
            return connection
        if self.kind == "mysql":
            connection = mariadb.connect_or_skip()
            connection.autocommit(True)
            return connection
        connection = psycopg2.connect(postgres.POSTGRES_URL)
        connection.autocommit = True
        psycopg2.extras.register_default_json(connection, loads=str)
        return connection

    def execute(self, statement: str) -> None:
        self.query(statement)

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Return what a statement gives."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, map(with_zone, row), strict=True)) for row in cursor.fetchall()] if names else []
        finally:
            connection.close()

    def name(self, table: str) -> str:
        """Return the table's name with its schema as the database's SQL writes it."""
        quote = "`" if self.kind == "mysql" else '"'
        parts = [self.schema, table] if self.schema else [table]
        return ".".join(f"{quote}{part.replace(quote, quote * 2)}{quote}" for part in parts)

    def read(self, table: str, order: str = "1, 2, 3") -> list[dict[str, Any]]:
        return self.query(f"SELECT * FROM {self.name(table)} ORDER BY {order}")

    def tables(self) -> set[str]:
        listed = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
            "postgresql": f"SELECT tablename AS name FROM pg_tables WHERE schemaname = '{self.schema}'",
            "mysql": f"SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '{self.schema}'",
            "duckdb": f"SELECT table_name AS name FROM duckdb_tables() WHERE schema_name = '{self.schema}'",
        }
        return {row["name"] for row in self.query(listed[self.kind])}


def with_zone(value: Any) -> Any:
    """Return a moment with its zone: MySQL's have none, and hold UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def sqlite_warehouse(directory: Path) -> Warehouse:
    path = directory / "warehouse.db"
    return Warehouse(f"sqlite:///{path}", None, json.dumps({"conn_type": "sqlite", "host": str(path)}))


def duckdb_warehouse(directory: Path) -> Warehouse:
    path = directory / "warehouse.duckdb"
    warehouse = Warehouse(f"duckdb:///{path}", "plans", json.dumps({"conn_type": "duckdb", "host": str(path)}))
    warehouse.execute("CREATE SCHEMA plans")
    return warehouse


@contextmanager
def postgres_warehouse(driver: str) -> Iterator[Warehouse]:
    """Give a schema of its own."""
    schema = f"t_{uuid.uuid4().hex[:12]}"
    connection = postgres.connect_or_skip()
    connection.autocommit = True
    url = make_url(postgres.POSTGRES_URL).set(drivername=driver)
    airflow_connection = {
        "conn_type": "postgres",
        "host": url.host,
        "port": url.port,
        "login": url.username,
        "password": url.password,
        "schema": url.database,
        # Empty on Airflow 2.11, whose hook does not know the setting.
        "extra": {"sqlalchemy_scheme": driver},
    }
    connection.cursor().execute(f'CREATE SCHEMA "{schema}"')
    try:
        yield Warehouse(url.render_as_string(hide_password=False), schema, json.dumps(airflow_connection))
    finally:
        connection.cursor().execute(f'DROP SCHEMA "{schema}" CASCADE')
        connection.close()


@contextmanager
def mariadb_warehouse() -> Iterator[Warehouse]:
    """Give a database of its own: what others call a schema."""
    schema = f"t_{uuid.uuid4().hex[:12]}"
    connection = mariadb.connect_or_skip()
    url = make_url(mariadb.MARIADB_URL).set(drivername="mysql+pymysql")
    connection.cursor().execute(f"CREATE DATABASE {schema}")
    try:
        airflow_connection = {
            "conn_type": "mysql",
            "host": url.host,
            "port": url.port,
            "login": url.username,
            "password": url.password,
            "schema": url.database,
            "extra": {"client": "pymysql"},
        }
        yield Warehouse(url.render_as_string(hide_password=False), schema, json.dumps(airflow_connection))
    finally:
        connection.cursor().execute(f"DROP DATABASE {schema}")
        connection.close()
