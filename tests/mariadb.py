"""The real MariaDB of the tests."""

from __future__ import annotations

import os
from typing import Any

import pymysql
import pytest
from sqlalchemy.engine import make_url

_TOLD = make_url(os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/test"))
# To this machine without TLS, whose context the driver makes anew for each of a thousand connections (40 ms).
_NEAR = {"ssl_disabled": "true"} if _TOLD.host in ("127.0.0.1", "localhost") else {}
MARIADB_URL = _TOLD.update_query_dict(_NEAR).render_as_string(hide_password=False)


def connect_or_skip() -> Any:
    """Connect; where no server answers, skip the test and say so, but fail it in CI."""
    url = make_url(MARIADB_URL)
    try:
        return pymysql.connect(
            host=url.host or "127.0.0.1",
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            database=url.database,
            connect_timeout=5,
            **url.query,
        )
    except pymysql.err.OperationalError as error:
        told = f"no MariaDB answers at TEST_MARIADB_URL ({error})"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
