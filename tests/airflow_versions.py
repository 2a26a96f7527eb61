"""The installed Airflow, and what it lacks: marks for tests of what only a newer one has."""

from __future__ import annotations

from importlib.metadata import version

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:3])

AIRFLOW_3 = AIRFLOW >= (3,)
# The version for which the warnings of Airflow itself and of its parts are watched.
NEWEST = AIRFLOW >= (3, 3)
