"""The real PostgreSQL of the tests."""

from __future__ import annotations

import os
from typing import Any

import psycopg2
import pytest

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


def connect_or_skip() -> Any:
    """Connect; where no server answers, skip the test and say so, but fail it in CI."""
    try:
        return psycopg2.connect(POSTGRES_URL, connect_timeout=5)
    except psycopg2.OperationalError as error:
        told = f"no PostgreSQL answers at TEST_POSTGRES_URL ({str(error).strip()})"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
