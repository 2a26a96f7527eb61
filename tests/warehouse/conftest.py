"""Fixtures: a SQLite file, and a PostgreSQL schema of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from tests.postgres import POSTGRES_URL
from tests.warehouse.real_databases import Warehouse, create_postgres_schema, drop_postgres_schema


def sqlite_file(directory: Path) -> Warehouse:
    path = directory / "warehouse.db"
    return Warehouse(f"sqlite:///{path}", None, json.dumps({"conn_type": "sqlite", "host": str(path)}))


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "postgresql+psycopg"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    """An empty database: SQLite, and PostgreSQL through both drivers."""
    driver: str = request.param
    if driver == "sqlite":
        yield sqlite_file(tmp_path)
        return
    if driver == "postgresql+psycopg" and sqlalchemy.__version__ < "2":
        pytest.skip("SQLAlchemy 1.4 does not know psycopg 3")
    schema = create_postgres_schema()
    url = make_url(POSTGRES_URL)
    connection = {
        "conn_type": "postgres",
        "host": url.host,
        "port": url.port,
        "login": url.username,
        "password": url.password,
        "schema": url.database,
        # Empty on Airflow 2.11, whose hook does not know the setting.
        "extra": {"sqlalchemy_scheme": driver},
    }
    try:
        yield Warehouse(
            url.set(drivername=driver).render_as_string(hide_password=False), schema, json.dumps(connection)
        )
    finally:
        drop_postgres_schema(schema)


@pytest.fixture
def sqlite(tmp_path: Path) -> Warehouse:
    """SQLite alone."""
    return sqlite_file(tmp_path)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Warehouse]:
    """PostgreSQL alone."""
    schema = create_postgres_schema()
    try:
        yield Warehouse(
            make_url(POSTGRES_URL).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False),
            schema,
            "",
        )
    finally:
        drop_postgres_schema(schema)
