"""Fixtures: a ledger in SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from tests import mariadb, postgres
from tests.stores.databases import Database

DRIVERS = ["sqlite", "postgresql+psycopg2", "postgresql+psycopg", "mysql+pymysql"]


def database_url(driver: str, directory: Path) -> str:
    if driver == "sqlite":
        return f"sqlite:///{directory / 'ledger.db'}"
    if driver == "postgresql+psycopg" and sqlalchemy.__version__ < "2":
        pytest.skip("SQLAlchemy 1.4 does not know psycopg 3")
    server, url = (mariadb, mariadb.MARIADB_URL) if "mysql" in driver else (postgres, postgres.POSTGRES_URL)
    server.connect_or_skip().close()
    return make_url(url).set(drivername=driver).render_as_string(hide_password=False)


@pytest.fixture(params=DRIVERS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Each database, with names for tables that nobody else uses."""
    database = Database(database_url(request.param, tmp_path))
    yield database
    database.drop()


@pytest.fixture(params=[driver for driver in DRIVERS if driver != "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Those that are reached over a network."""
    database = Database(database_url(request.param, tmp_path))
    yield database
    database.drop()
