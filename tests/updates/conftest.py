from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# The same examples every time, and no limit on the clock: a busy machine is no failure.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture
def postgres() -> Iterator[Any]:
    """A connection to a real PostgreSQL; what a test makes there is temporary and goes with the connection."""
    import psycopg2

    url = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")
    try:
        connection = psycopg2.connect(url, connect_timeout=5)
    except psycopg2.OperationalError as error:
        message = f"no PostgreSQL answers (TEST_POSTGRES_URL tells where one is): {error}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield connection
    connection.close()
