"""Databases whose statements are compiled and checked, but that no test here can run."""

from __future__ import annotations

from airflow_provider_achieveit.warehouse.databases.base import Database
from airflow_provider_achieveit.warehouse.values import Limits

_DECIMAL = (20, 18)
"""DECIMAL(38, 18)."""


class SnowflakeDatabase(Database):
    """Snowflake: keys are told, not enforced."""

    limits = Limits(decimal=_DECIMAL)
    keyed_staging = False
    indexes = False


class RedshiftDatabase(Database):
    """Amazon Redshift: text has at most 65535 bytes; a longer one is refused."""

    limits = Limits(null_bytes=False, decimal=_DECIMAL)
    keyed_staging = False
    indexes = False


class SqlServerDatabase(Database):
    """Microsoft SQL Server: a name tells that a table is temporary."""

    limits = Limits(decimal=_DECIMAL)
    temporary = ""
    temporary_name = "#"


class OracleDatabase(Database):
    """Oracle, from 18c on: private temporary tables, which have no keys; an empty text is NULL."""

    updates_by_join = False

    limits = Limits(decimal=_DECIMAL, empty_text=False)
    keyed_staging = False
    temporary = "PRIVATE TEMPORARY"
    temporary_name = "ORA$PTT_"


class BigQueryDatabase(Database):
    """Google BigQuery: its driver sends every statement as a job of its own."""

    limits = Limits(decimal=_DECIMAL)
    keyed_staging = False
    indexes = False
    refusal = (
        "BigQuery has no transactions through its driver: a reader could see half a load. Export the plan to a file "
        "(AchieveItExportPlanToFileOperator) and load that, or name the connection of another database."
    )
