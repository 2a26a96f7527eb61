from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.postgres import connect_or_skip


@pytest.fixture
def postgres() -> Iterator[Any]:
    """A connection to a real PostgreSQL; what a test makes there is temporary and goes with the connection."""
    with closing(connect_or_skip()) as connection:
        yield connection
