"""What Airflow learns of the provider, by Airflow's own schemas and its providers manager."""

from __future__ import annotations

import importlib
import inspect
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_achieveit import exceptions
from airflow_provider_achieveit.get_provider_info import get_provider_info
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection import EXTRA_FIELDS
from tests.airflow_versions import needs_provider_commands


@pytest.mark.parametrize(
    "schema",
    ["provider_info.schema.json", pytest.param("provider.yaml.schema.json", marks=needs_provider_commands)],
)
def test_fits_airflows_schema(schema: str) -> None:
    path = Path(airflow.__file__).parent / schema
    info: dict[str, Any] = get_provider_info()
    if schema.startswith("provider.yaml"):
        # What only a provider inside Airflow's own repository tells.
        info = {**info, "state": "ready", "lifecycle": "production", "source-date-epoch": 0, "versions": ["0.1.0"]}
    jsonschema.validate(info, json.loads(path.read_text()))


def test_is_found_by_its_entry_point() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if "achieveit" in point.value]
    assert [point.load()() for point in found] == [get_provider_info()]


def test_every_module_named_exists() -> None:
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[part]:
            for module in entry["python-modules"]:
                importlib.import_module(module)


def test_every_class_named_exists() -> None:
    info = get_provider_info()
    decorators = [entry["class-name"] for entry in info["task-decorators"]]
    for path in [*info["extra-links"], *info["notifications"], *decorators]:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), path


def test_every_function_of_the_assets_exists_under_the_names_of_both_airflows() -> None:
    info = get_provider_info()
    assert info["asset-uris"] == info["dataset-uris"]
    [of_plans] = info["asset-uris"]
    for name in ("handler", "factory", "to_openlineage_converter"):
        module, _, function = of_plans[name].rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_airflow_makes_the_hook_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import BaseHook

    monkeypatch.setenv("AIRFLOW_CONN_GOALS", '{"conn_type": "achieveit", "password": "key-of-a-test"}')
    hook = BaseHook.get_connection("goals").get_hook()
    assert isinstance(hook, AchieveItHook)
    assert hook.achieveit_conn_id == "goals"
    assert hook.get_conn().config.base_url == "https://api.achieveit.com"


def test_the_form_has_every_extra_field_and_no_other() -> None:
    [connection_type] = get_provider_info()["connection-types"]
    assert set(connection_type["conn-fields"]) == set(EXTRA_FIELDS)
    assert connection_type["connection-type"] == AchieveItHook.conn_type


def test_what_a_retry_cannot_mend_fails_at_once() -> None:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

    classes = {
        error
        for _, error in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(error, exceptions.AchieveItError)
    }
    retried = {
        exceptions.AchieveItError,
        exceptions.AchieveItUnavailableError,
        exceptions.AchieveItJobFailedError,
        exceptions.AchieveItInconsistentExportError,
    }
    assert {error for error in classes if not issubclass(error, AirflowFailException)} == retried
    assert all(issubclass(error, AirflowException) for error in classes)
