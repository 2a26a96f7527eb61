"""The form of a connection in Airflow's web interface, told once and shown by every version.

Airflow 3.2 and later read the fields from the provider's metadata. Airflow 2.11, 3.0 and 3.1 ask the hook for widgets
of WTForms instead, which are made here from the same fields. See "Managing Connections" and "Custom connection types"
in Airflow's documentation. Every component of Airflow imports this at its start: so nothing is imported here.
"""

from __future__ import annotations

from typing import Any

STANDARD_FIELDS: dict[str, Any] = {
    "hidden-fields": ["schema", "login"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {
        "host": "empty: AchieveIt's own address, by the environment",
        "password": "the key of an AchieveIt user or service account",
        "port": "443",
        "web_url": "https://.../{plan_id}",
        "verify": "true, false, or /path/to/ca.pem",
    },
}
"""What becomes of the fields that every connection has (``ui-field-behaviour`` of the metadata)."""

EXTRA_FIELDS: dict[str, Any] = {
    "environment": {
        "label": "Environment",
        "description": "Of your tenant: decides the base URL where that field is empty.",
        "schema": {"type": ["string", "null"], "enum": ["commercial", "government"], "default": "commercial"},
    },
    "plan_id": {
        "label": "Plan ID for the test",
        "description": "A plan that the connection test reads one item of. Only this proves that the key is accepted.",
        "schema": {"type": ["string", "null"]},
    },
    "web_url": {
        "label": "Address of a plan in the web application",
        "description": "For links to plans: an address with {plan_id} in it. Empty: no links.",
        "schema": {"type": ["string", "null"]},
    },
    "max_requests_per_minute": {
        "label": "Max requests per minute",
        "description": "Of all tasks on one machine that use this key together; they wait for each other. "
        "Empty: no limit.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "timeout": {
        "label": "Timeout (s)",
        "description": "Seconds to wait for an answer, or its next part.",
        "schema": {"type": ["number", "null"], "default": 60, "exclusiveMinimum": 0},
    },
    "connect_timeout": {
        "label": "Connect timeout (s)",
        "description": "Seconds to wait for a connection.",
        "schema": {"type": ["number", "null"], "default": 10, "exclusiveMinimum": 0},
    },
    "max_retries": {
        "label": "Max retries",
        "description": "How often a request is repeated within a task, where it may be repeated at all.",
        "schema": {"type": ["integer", "null"], "default": 5, "minimum": 0, "maximum": 100},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA file that is on every worker and triggerer.",
        "schema": {"type": ["string", "null"], "default": "true"},
    },
    "allow_http": {
        "label": "Allow plain http",
        "description": "For a simulator on this machine; honoured for loopback hosts only.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
}
"""The fields of the connection's extra, in the order of the form (``conn-fields`` of the metadata)."""


def form_widgets() -> dict[str, Any]:
    """Return the extra fields as WTForms fields, for Airflow 2.11, 3.0 and 3.1.

    :raises ImportError: Flask AppBuilder is not installed; Airflow then shows no widgets, and nothing else is amiss.
    """
    # In this form, as 3.0 and 3.1 put stand-ins in the place of just these names where the packages are missing.
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import BooleanField, IntegerField, StringField
    from wtforms.validators import Optional, any_of

    def widget(field: dict[str, Any]) -> Any:
        schema = field["schema"]
        kind, default = schema["type"][0], schema.get("default")
        told = {"label": lazy_gettext(field["label"]), "description": field["description"]}
        if kind == "boolean":
            return BooleanField(**told, default=default)
        # Airflow 2.11 has the fields of all connection types in one form: an empty one must not spoil the others.
        told |= {"validators": [Optional()], "widget": BS3TextFieldWidget()}
        if kind == "integer":
            return IntegerField(**told, default=default)
        # Airflow takes no class for other numbers; they are read from text as well.
        told["validators"] += [any_of(schema["enum"])] if "enum" in schema else []
        return StringField(**told, default=None if default is None else str(default))

    return {name: widget(field) for name, field in EXTRA_FIELDS.items()}


def field_behaviour() -> dict[str, Any]:
    """Return :data:`STANDARD_FIELDS` as Airflow 2.11, 3.0 and 3.1 want it."""
    return {name.replace("-", "_"): value for name, value in STANDARD_FIELDS.items()}
