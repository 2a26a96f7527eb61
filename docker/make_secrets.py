"""Make the secrets of docker-compose.yaml, each once: random, and only in the volume that the services share.

    python make_secrets.py DIRECTORY

Airflow's options ending in ``_CMD`` read them (``cat DIRECTORY/fernet_key``), and the ``*_FILE`` variables of the
PostgreSQL image. Needs only the standard library: it runs before anything else does.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

API_KEY, ADMIN, METADATA, REDIS, WAREHOUSE = (
    "achieveit_api_key",
    "admin_password",
    "postgres_password",
    "redis_password",
    "warehouse_password",
)

RANDOM: dict[str, Callable[[], str]] = {
    "fernet_key": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
    "jwt_secret": lambda: secrets.token_hex(64),
    "api_secret_key": lambda: secrets.token_hex(32),
    API_KEY: lambda: secrets.token_hex(16),
    ADMIN: lambda: secrets.token_urlsafe(12),
    # Hexadecimal, so that they need no quoting in a URL.
    METADATA: lambda: secrets.token_hex(24),
    REDIS: lambda: secrets.token_hex(24),
    WAREHOUSE: lambda: secrets.token_hex(24),
}


def derived(value: Callable[[str], str]) -> dict[str, str]:
    """Return the files that are made of other secrets.

    :param value: gives a random secret by its name.
    """
    connections = {
        "achieveit_default": {
            "conn_type": "achieveit",
            "description": "The simulator of this compose file",
            "host": "https://simulator:8400",
            "password": value(API_KEY),
            "extra": {"verify": "/opt/achieveit/ca/ca.pem"},
        },
        "warehouse": {
            "conn_type": "postgres",
            "description": "The warehouse of this compose file",
            "host": "warehouse",
            "port": 5432,
            "schema": "warehouse",
            "login": "warehouse",
            "password": value(WAREHOUSE),
        },
    }
    return {
        "sql_alchemy_conn": f"postgresql+psycopg2://airflow:{value(METADATA)}@postgres:5432/airflow",
        "broker_url": f"redis://:{value(REDIS)}@redis:6379/0",
        # Airflow 3 shows the connections of its database to tasks only; a script takes this as an environment variable.
        "warehouse_connection": json.dumps(connections["warehouse"]),
        "connections.json": json.dumps(connections, indent=2),
        "simple_auth_manager_passwords.json": json.dumps({"admin": value(ADMIN)}),
    }


def make(directory: Path) -> None:
    """Write what is missing; what is there stays, because the databases already know it.

    :param directory: an existing directory.
    """
    for name, random in RANDOM.items():
        if not (directory / name).exists():
            _write(directory / name, random())
    for name, text in derived(lambda name: (directory / name).read_text(encoding="ascii")).items():
        _write(directory / name, text)


def _write(path: Path, text: str) -> None:
    # No line break at the end: Airflow takes the whole output of a command. Readable by all, because PostgreSQL and
    # Redis run as users of their own; only the services that mount the volume can come here.
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="ascii")
    temporary.chmod(0o644)
    temporary.replace(path)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
