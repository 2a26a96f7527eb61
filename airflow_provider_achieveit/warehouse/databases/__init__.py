"""What differs between databases: transactions, locks, limits and the bulk path."""

from __future__ import annotations

from sqlalchemy.engine import Engine

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.databases.duckdb import DuckdbDatabase
from airflow_provider_achieveit.warehouse.databases.mysql import MysqlDatabase
from airflow_provider_achieveit.warehouse.databases.portable import (
    BigQueryDatabase,
    OracleDatabase,
    RedshiftDatabase,
    SnowflakeDatabase,
    SqlServerDatabase,
)
from airflow_provider_achieveit.warehouse.databases.postgres import PostgresDatabase
from airflow_provider_achieveit.warehouse.databases.sqlite import SqliteDatabase

_DATABASES: dict[str, type[Database]] = {
    "sqlite": SqliteDatabase,
    "postgresql": PostgresDatabase,
    "mysql": MysqlDatabase,
    "mariadb": MysqlDatabase,
    "duckdb": DuckdbDatabase,
    "snowflake": SnowflakeDatabase,
    "redshift": RedshiftDatabase,
    "mssql": SqlServerDatabase,
    "oracle": OracleDatabase,
    "bigquery": BigQueryDatabase,
}


def database_of(engine: Engine, *, lock_seconds: int | None = None) -> Database:
    """Return what is special about an engine's database.

    :param engine: an engine nobody has connected with yet.
    :param lock_seconds: how long a statement waits for what another transaction holds.
    """
    return _DATABASES.get(engine.dialect.name, Database)(engine, lock_seconds=lock_seconds)
