"""Celery's settings in the cluster: Airflow's own, and workers import what every task needs before they fork.

Importing costs a task more than all its work; on two cores that is most of the time of the tests at scale.
"""

from __future__ import annotations

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

SETTINGS = {
    **DEFAULT_CELERY_CONFIG,
    "imports": (
        "airflow.dag_processing.dagbag",
        "airflow.providers.postgres.hooks.postgres",
        "airflow_provider_achieveit.api.client",
        "airflow_provider_achieveit.operators.export",
        "airflow_provider_achieveit.operators.updates",
        "airflow_provider_achieveit.warehouse.load",
    ),
}
