"""Real databases for tests: what is in them, read with their own drivers."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extras
import sqlalchemy
from sqlalchemy.engine import Engine, make_url

from tests.postgres import POSTGRES_URL, connect_or_skip


@dataclass
class Warehouse:
    """One database, written by the code under test and read with the database's own driver."""

    url: str
    schema: str | None
    airflow_connection: str

    @property
    def sqlite(self) -> bool:
        return self.schema is None

    def engine(self) -> Engine:
        return sqlalchemy.create_engine(self.url)

    def connect(self) -> Any:
        """Return a connection of the driver, which sees what any other program would see."""
        if self.sqlite:
            # Autocommit: every query stands alone, as a reader's does.
            return sqlite3.connect(make_url(self.url).database or "", timeout=60, isolation_level=None)
        connection = psycopg2.connect(POSTGRES_URL)
        connection.autocommit = True
        psycopg2.extras.register_default_json(connection, loads=str)
        return connection

    def execute(self, statement: str) -> None:
        connection = self.connect()
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def name(self, table: str) -> str:
        return f'"{table}"' if self.sqlite else f'"{self.schema}"."{table}"'

    def read(self, table: str, order: str = "1, 2, 3") -> list[dict[str, Any]]:
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(f"SELECT * FROM {self.name(table)} ORDER BY {order}")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()

    def tables(self) -> set[str]:
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
                if self.sqlite
                else f"SELECT tablename FROM pg_tables WHERE schemaname = '{self.schema}'"
            )
            return {row[0] for row in cursor.fetchall()}
        finally:
            connection.close()


def create_postgres_schema() -> str:
    connection = connect_or_skip()
    schema = f"t_{uuid.uuid4().hex[:12]}"
    connection.autocommit = True
    connection.cursor().execute(f'CREATE SCHEMA "{schema}"')
    connection.close()
    return schema


def drop_postgres_schema(schema: str) -> None:
    connection = psycopg2.connect(POSTGRES_URL)
    connection.autocommit = True
    connection.cursor().execute(f'DROP SCHEMA "{schema}" CASCADE')
    connection.close()
