"""The addresses of what an export writes, in the form that Airflow's own providers give their assets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_AS_IT_IS = "".join(char for char in map(chr, range(0x20, 0x7F)) if char not in "#?")
"""Airflow takes ASCII only: its API server would set a task to failed that tells of anything else. What follows ``#``
or ``?`` it leaves out or changes."""


def table_uri(engine: Engine, schema: str | None, table: str) -> str | None:
    """Return the address of a table, None where no provider of Airflow has one for its database.

    ``postgres://host:port/database/schema/table`` and ``mysql://host:port/database/table``.

    :param engine: of the database; it has been connected.
    :param schema: schema of the table; None or empty: the default one.
    :param table: name of the table.
    """
    url = engine.url
    schema = schema or engine.dialect.default_schema_name
    if not url.host or not schema:
        return None
    match engine.dialect.name:
        case "postgresql":
            scheme, names = "postgres", [url.database or "", schema, table]
        case "mysql" | "mariadb":
            # What MySQL calls a schema is a database.
            scheme, names = "mysql", [schema, table]
        case _:
            return None
    host = f"[{url.host}]" if ":" in url.host else url.host
    path = "/".join(_ascii(name).replace("/", "%2F") for name in names)
    return f"{scheme}://{host}:{url.port or _PORTS[engine.dialect.name]}/{path}"


def file_uri(path: str) -> str:
    """Return the address of a file: ``file:///lake/plan.csv``, ``s3://lake/plan.csv``; percent-encoded if not ASCII.

    :param path: as ``ObjectStoragePath`` has it; the connection in it (``s3://conn@lake``) is left out.
    """
    return _ascii(file_address(path))


def file_address(path: str) -> str:
    """Return the address of a file as :func:`file_uri`, with its characters as they are.

    :param path: as ``ObjectStoragePath`` has it.
    """
    scheme, separator, rest = path.partition("://")
    if not separator or scheme == "file":
        return f"file://{Path(rest or path).absolute()}"
    host, slash, tail = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{tail}"


def _ascii(text: str) -> str:
    return quote(text, safe=_AS_IT_IS, errors="surrogateescape")
