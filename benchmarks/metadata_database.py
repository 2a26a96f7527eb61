"""A metadata database of Airflow for each run: on PostgreSQL where it answers, else on SQLite."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

SERVER = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


def environment(home: Path) -> dict[str, str]:
    """Return this process's environment with an Airflow of its own: nothing of the user's is left.

    :param home: where that Airflow keeps its files.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return others | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


class Databases:
    """Makes a database with the tables of an environment's Airflow once; each run has a copy of it.

    :param directory: for the files of SQLite, and of the migration.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kind = "PostgreSQL" if _answers() else "SQLite"
        self._names: list[str] = []
        self._templates: dict[str, str] = {}

    def __enter__(self) -> Databases:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names if self.kind == "PostgreSQL" else ():
            _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextmanager
    def fresh(self, python: str) -> Iterator[str]:
        """Give the URL of a new database that is ready for the Airflow of an environment.

        :param python: the environment's interpreter.
        """
        if python not in self._templates:
            self._templates[python] = self._migrated(python)
        template, name = self._templates[python], self._name()
        if self.kind == "PostgreSQL":
            _execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        else:
            shutil.copy(self.directory / template, self.directory / name)
        yield self._url(name)

    def _migrated(self, python: str) -> str:
        name = self._name()
        if self.kind == "PostgreSQL":
            _execute(f'CREATE DATABASE "{name}"')
        apart = environment(self.directory / "migration") | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._url(name)}
        command = [python, "-m", "airflow", "db", "migrate"]
        subprocess.run(command, check=True, env=apart, stdout=subprocess.DEVNULL)
        return name

    def _name(self) -> str:
        self._names.append(f"benchmark_triggerer_{secrets.token_hex(4)}")
        return self._names[-1]

    def _url(self, name: str) -> str:
        if self.kind == "PostgreSQL":
            return urlsplit(SERVER)._replace(scheme="postgresql+psycopg2", path=f"/{name}").geturl()
        return f"sqlite:///{self.directory / name}"


def _answers() -> bool:
    try:
        psycopg2.connect(SERVER, connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def _execute(statement: str) -> None:
    connection = psycopg2.connect(SERVER)
    connection.autocommit = True
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()
