"""What Airflow learns of this provider without importing anything of it.

The keys follow Airflow's ``provider_info.schema.json`` and ``provider.yaml.schema.json``.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_achieveit.hooks import connection_form


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (entry point group ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-provider-achieveit",
        "name": "AchieveIt",
        "description": "Checked batches of updates into [AchieveIt](https://www.achieveit.com/), typed plan items out.",
        "integrations": [
            {
                "integration-name": "AchieveIt",
                "external-doc-url": "https://www.achieveit.com/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "AchieveIt",
                "python-modules": ["airflow_provider_achieveit.hooks.achieveit"],
            }
        ],
        "operators": [
            {
                "integration-name": "AchieveIt",
                "python-modules": [
                    "airflow_provider_achieveit.operators.updates",
                    "airflow_provider_achieveit.operators.export",
                ],
            }
        ],
        "sensors": [{"integration-name": "AchieveIt", "python-modules": ["airflow_provider_achieveit.sensors.job"]}],
        "triggers": [
            {
                "integration-name": "AchieveIt",
                "python-modules": [
                    "airflow_provider_achieveit.triggers.job",
                    "airflow_provider_achieveit.triggers.plan",
                ],
            }
        ],
        "asset-uris": _ASSET_URIS,
        # The name that Airflow 2 has for them.
        "dataset-uris": _ASSET_URIS,
        "extra-links": [
            "airflow_provider_achieveit.links.AchieveItPlanLink",
            "airflow_provider_achieveit.links.AchieveItSyncHistoryLink",
        ],
        "task-decorators": [
            {
                "name": "achieveit_progress_updates",
                "class-name": "airflow_provider_achieveit.decorators.updates.progress_updates_task",
            },
            {
                "name": "achieveit_metric_updates",
                "class-name": "airflow_provider_achieveit.decorators.updates.metric_updates_task",
            },
        ],
        "notifications": ["airflow_provider_achieveit.notifications.progress.AchieveItProgressNotifier"],
        "cli": ["airflow_provider_achieveit.cli.definition.get_cli_commands"],
        "connection-types": [
            {
                "connection-type": "achieveit",
                "hook-name": "AchieveIt",
                "hook-class-name": "airflow_provider_achieveit.hooks.achieveit.AchieveItHook",
                "ui-field-behaviour": connection_form.STANDARD_FIELDS,
                "conn-fields": connection_form.EXTRA_FIELDS,
            }
        ],
        "config": {
            "achieveit": {
                "description": "The sync history page, in Airflow's menu Browse (Airflow 3.1 and later).",
                "options": _CONFIG_OPTIONS,
            }
        },
    }


_ASSET_URIS = [
    {
        "schemes": ["achieveit"],
        "handler": "airflow_provider_achieveit.assets.plan.sanitize_uri",
        "factory": "airflow_provider_achieveit.assets.plan.create_asset",
        "to_openlineage_converter": "airflow_provider_achieveit.assets.plan.convert_asset_to_openlineage",
    }
]

_CONFIG_OPTIONS: dict[str, Any] = {
    "ledger_conn_id": {
        "description": "The connection of the ledger to show: the ledger_conn_id of the submit operators. Empty: none.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "warehouse",
        "default": "",
    },
    "ledger_table": {
        "description": "The ledger's table, or schema.table: the ledger_table of the submit operators.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "ops.achieveit_submissions",
        "default": "achieveit_submissions",
    },
}
