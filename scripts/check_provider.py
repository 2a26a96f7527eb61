"""Check that the Airflow of this environment takes all that the provider registers, without a single warning.

Run inside an environment with one version of Airflow and this package (``make test-matrix`` makes one for each that is
supported). Everything goes through Airflow's own code: its providers manager, its plugins manager, its connection form,
its schema of the provider info.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

PACKAGE = "airflow_provider_achieveit"
DISTRIBUTION = "airflow-provider-achieveit"
CONNECTION_TYPE = "achieveit"
LOGGERS = ("", "airflow.providers_manager", "airflow.sdk.providers_manager_runtime", "airflow.plugins_manager")
# What Airflow and the libraries it brings warn each other of, whatever provider is loaded.
NOISE = (
    # 2.11: its metrics, and the Flask under its web server.
    r"/airflow/(metrics/base_stats_logger|triggers/base)\.py:.*Timer and timing metrics",
    r"/(flask_sqlalchemy|flask_appbuilder|flask_babel|marshmallow_sqlalchemy)/",
    # 3.0 tells of the standard provider's hooks each time it reads them; its test client is on an older anyio.
    r"airflow\.providers_manager: The connection_type '(fs|package_index)' has been already registered",
    r"/starlette/testclient\.py:.*BlockingPortal",
    # 3.0 and 3.1: the standard provider's own import.
    r"/common/compat/_compat_utils\.py:.*BaseBranchOperator",
    # 3.2: its own connection form.
    r"/core_api/services/ui/connections\.py:.*ProvidersManager\.hooks is deprecated",
)


class Heard(logging.Handler):
    """Keeps what is logged at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(f"{record.name}: {record.getMessage()}")


def names_in(told: Any) -> Iterator[str]:
    """Yield every name of our own modules and of what is in them.

    :param told: a part of the provider info.
    """
    if isinstance(told, dict | list):
        for part in told.values() if isinstance(told, dict) else told:
            yield from names_in(part)
    elif isinstance(told, str) and told.startswith(f"{PACKAGE}."):
        yield told


def load(name: str) -> object:
    """Import a module, or what is in one.

    :raises Exception: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def form_fields(manager: Any) -> set[str]:
    """Return the extra fields that the connection form shows."""
    try:
        from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
    except ImportError:  # Airflow 2
        prefix = f"extra__{CONNECTION_TYPE}__"
        return {name.removeprefix(prefix) for name in manager.connection_form_widgets if name.startswith(prefix)}
    for hook in HookMetaService.hook_meta_data():
        if hook.connection_type == CONNECTION_TYPE:
            return set(hook.extra_fields or {})
    return set()


def loaded_plugins() -> tuple[list[str], dict[str, str]]:
    """Load all plugins and their pages as an API server does; return their classes, and what could not be loaded."""
    plugins_manager: Any = importlib.import_module("airflow.plugins_manager")
    if hasattr(plugins_manager, "_get_plugins"):  # Airflow 3.2 and later
        plugins, errors = plugins_manager._get_plugins()
        loaders = ["_get_ui_plugins", "get_fastapi_plugins"]
    else:
        plugins_manager.ensure_plugins_loaded()
        plugins, errors = plugins_manager.plugins, plugins_manager.import_errors
        loaders = ["initialize_ui_plugins", "initialize_fastapi_plugins"]
    for loader in loaders:
        # They log what they do not like; Airflow 2 has none of them.
        getattr(plugins_manager, loader, list)()
    return [f"{type(plugin).__module__}:{type(plugin).__qualname__}" for plugin in plugins], dict(errors)


def registries(info: dict[str, Any], manager: Any) -> Iterator[tuple[str, Iterable[str], Callable[[], Iterable[str]]]]:
    """Yield, for each part of the provider info, what we register and where Airflow has it.

    :param info: the provider info.
    :param manager: Airflow's providers manager.
    """
    try:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
    except ImportError:  # before Airflow 3.2 there was one for all
        workers = manager
    else:
        workers = ProvidersManagerTaskRuntime()
    [connection] = info["connection-types"]
    # The form first, as in an API server: 3.0 and 3.1 put stand-ins for WTForms in place while they import the hooks.
    yield "connection form", connection["conn-fields"], lambda: form_fields(manager)
    # Only looking one up imports it.
    yield "hooks", [CONNECTION_TYPE], lambda: [CONNECTION_TYPE] if workers.hooks.get(CONNECTION_TYPE) else []
    yield "extra-links", info.get("extra-links", []), lambda: manager.extra_links_class_names
    yield "notifications", info.get("notifications", []), lambda: [str(found) for found in manager.notification]
    decorators = [decorator["name"] for decorator in info.get("task-decorators", [])]
    yield "task-decorators", decorators, lambda: workers.taskflow_decorators
    triggers = [module for entry in info["triggers"] for module in entry["python-modules"]]
    yield "triggers", triggers, lambda: [found.trigger_class_name for found in manager.trigger]
    schemes = [scheme for entry in info.get("asset-uris", []) for scheme in entry["schemes"]]
    if hasattr(type(workers), "asset_uri_handlers"):  # Airflow 3
        yield "asset-uris", schemes, lambda: workers.asset_uri_handlers
    yield "config", info.get("config", {}), lambda: dict(manager.provider_configs).get(DISTRIBUTION, {})
    if hasattr(type(manager), "cli_command_functions"):  # Airflow 3.2 and later
        yield (
            "cli",
            info.get("cli", []),
            lambda: [f"{function.__module__}.{function.__qualname__}" for function in manager.cli_command_functions],
        )


def problems() -> Iterator[str]:
    """Yield what this Airflow does not take."""
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    if DISTRIBUTION not in manager.providers:
        yield f"{DISTRIBUTION} is not among the providers that Airflow finds"
        return
    info = manager.providers[DISTRIBUTION].data
    airflow = Path(importlib.import_module("airflow").__file__ or "").parent
    schema = json.loads((airflow / "provider_info.schema.json").read_text(encoding="utf-8"))
    for error in importlib.import_module("jsonschema").Draft7Validator(schema).iter_errors(info):
        yield f"provider_info.schema.json: {error.json_path}: {error.message}"
    for name in sorted(set(names_in(info))):
        try:
            load(name)
        except Exception as error:
            yield f"{name} cannot be imported: {type(error).__name__}: {error}"
    for part, ours, known in registries(info, manager):
        if missing := set(ours) - set(known()):
            yield f"{part}: Airflow does not know {', '.join(sorted(missing))}"
    plugins, errors = loaded_plugins()
    for point in distribution(DISTRIBUTION).entry_points.select(group="airflow.plugins"):
        if point.value not in plugins:
            yield f"plugin {point.name}: not loaded"
    for plugin, why in errors.items():
        yield f"plugin {plugin}: {why}"


def main() -> int:
    """Print what is wrong; exit code 1 if anything is."""
    home = tempfile.TemporaryDirectory(prefix="achieveit-airflow-")
    os.environ.update({"AIRFLOW_HOME": home.name, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"})
    # 2.11's examples bring a plugin, which warns where pandas is missing.
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    heard = Heard()
    # Airflow first: it has a way of its own with warnings, which is to be turned off here.
    airflow = importlib.import_module("airflow")
    importlib.import_module("airflow.settings")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in LOGGERS:
            logging.getLogger(name).addHandler(heard)
        wrong = list(problems())
    told = [*heard.lines, *(f"{w.filename}:{w.lineno}: {w.category.__name__}: {w.message}" for w in caught)]
    wrong += [line for line in dict.fromkeys(told) if not any(re.search(noise, line) for noise in NOISE)]
    verdict = "\n  ".join(["", *wrong]) if wrong else "takes all of it, without a warning"
    print(f"Airflow {airflow.__version__}: {verdict}")
    home.cleanup()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
