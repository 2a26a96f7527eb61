"""What Airflow learns of this provider without importing anything of it.

The keys follow Airflow's ``provider_info.schema.json`` and ``provider.yaml.schema.json``.
"""

from __future__ import annotations

from typing import Any


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
        "triggers": [{"integration-name": "AchieveIt", "python-modules": ["airflow_provider_achieveit.triggers.job"]}],
        "connection-types": [
            {
                "connection-type": "achieveit",
                "hook-name": "AchieveIt",
                "hook-class-name": "airflow_provider_achieveit.hooks.achieveit.AchieveItHook",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {"host": "empty: by environment"},
                },
                "conn-fields": _CONNECTION_FIELDS,
            }
        ],
    }


_CONNECTION_FIELDS: dict[str, Any] = {
    "environment": {
        "label": "Environment",
        "description": "Decides the base URL when that field is empty.",
        "schema": {"type": ["string", "null"], "enum": ["commercial", "government"], "default": "commercial"},
    },
    "plan_id": {
        "label": "Plan ID",
        "description": "A plan that the connection test may read.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout (s)",
        "description": "Seconds to wait for an answer.",
        "schema": {"type": ["number", "null"], "default": 60, "exclusiveMinimum": 0},
    },
    "connect_timeout": {
        "label": "Connect timeout (s)",
        "description": "Seconds to wait for a connection.",
        "schema": {"type": ["number", "null"], "default": 10, "exclusiveMinimum": 0},
    },
    "max_retries": {
        "label": "Max retries",
        "description": "How often a request is repeated that may be repeated.",
        "schema": {"type": ["integer", "null"], "default": 5, "minimum": 0},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA file.",
        "schema": {"type": ["string", "null"], "default": "true"},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "For a simulator on this machine; honoured for loopback hosts only.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}
