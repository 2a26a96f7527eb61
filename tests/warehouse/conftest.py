"""Fixtures: an empty database of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import sqlalchemy

from airflow_provider_achieveit.warehouse import load as load_module
from tests.warehouse.real_databases import (
    Warehouse,
    duckdb_warehouse,
    mariadb_warehouse,
    postgres_warehouse,
    sqlite_warehouse,
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out psycopg 3 where the statements are the same as with psycopg 2: copying and binding are what differs."""
    alike = {"test_modes.py", "test_growth.py", "test_unchanged.py"}
    left_out = [item for item in items if item.path.name in alike and "postgresql+psycopg-" in f"{item.name[:-1]}-"]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(params=["sqlite", "postgresql+psycopg2", "postgresql+psycopg", "mariadb", "duckdb"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    """Every database that a load is tested on, PostgreSQL through both drivers."""
    if request.param == "sqlite":
        yield sqlite_warehouse(tmp_path)
    elif request.param == "duckdb":
        yield duckdb_warehouse(tmp_path)
    elif request.param == "mariadb":
        with mariadb_warehouse() as made:
            yield made
    else:
        if request.param == "postgresql+psycopg" and sqlalchemy.__version__ < "2":
            pytest.skip("SQLAlchemy 1.4 does not know psycopg 3")
        with postgres_warehouse(request.param) as made:
            yield made


@pytest.fixture
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all loads of one engine are into the same tables, what one has compiled serves the next."""
    for name in ("plan_tables", "database_of"):
        monkeypatch.setattr(load_module, name, lru_cache(getattr(load_module, name)))


@pytest.fixture
def sqlite(tmp_path: Path) -> Warehouse:
    """SQLite alone."""
    return sqlite_warehouse(tmp_path)


@pytest.fixture
def postgres() -> Iterator[Warehouse]:
    """PostgreSQL alone."""
    with postgres_warehouse("postgresql+psycopg2") as made:
        yield made


@pytest.fixture
def mariadb() -> Iterator[Warehouse]:
    """MariaDB alone."""
    with mariadb_warehouse() as made:
        yield made


@pytest.fixture
def duckdb(tmp_path: Path) -> Warehouse:
    """DuckDB alone."""
    return duckdb_warehouse(tmp_path)
