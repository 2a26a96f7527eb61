"""The reference has every public name, and the docstring of each tells of every parameter and of no other."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from pkgutil import resolve_name
from typing import Any

import pytest

from airflow_provider_achieveit import exceptions, retry_policy
from airflow_provider_achieveit.cli.definition import COMMANDS
from airflow_provider_achieveit.get_provider_info import get_provider_info
from tests.docs.blocks import ROOT

PAGES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "reference").glob("*.md"))]
NAMES = [
    name
    for name in re.findall(r"^\.\. auto(?:class|function):: (\S+)$", "\n".join(PAGES), re.MULTILINE)
    # Before Airflow 3.3 there are no retry policies.
    if not name.endswith("RetryPolicy") or retry_policy.DEFAULT_RETRY_POLICY
]
HOOK = "airflow_provider_achieveit.hooks.achieveit.AchieveItHook"
METHODS = [
    f"{HOOK}.{name}" for name, one in vars(resolve_name(HOOK)).items() if callable(one) and not name.startswith("_")
]


def public_names() -> set[str]:
    """What the provider's metadata names, and the public classes of the modules in it."""
    info = get_provider_info()
    modules = [entry for part in ("hooks", "operators", "sensors", "triggers") for entry in info[part]]
    found = {*info["extra-links"], *info["notifications"], *(made["class-name"] for made in info["task-decorators"])}
    for name in [name for entry in modules for name in entry["python-modules"]]:
        module = resolve_name(name)
        classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == name]
        found |= {f"{name}.{one.__name__}" for one in classes if one.__name__.startswith("AchieveIt")}
    return found


def test_every_public_name_is_there() -> None:
    assert public_names() <= set(NAMES)
    assert f".. automodule:: {exceptions.__name__}\n" in "\n".join(PAGES)


def test_every_command_is_there() -> None:
    shown = re.findall(r"^```\{command-help\} airflow_provider_achieveit (\w+)$", "\n".join(PAGES), re.MULTILINE)
    assert shown == [command.name for command in COMMANDS]


def signature_of(thing: Any) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name not in ("self", "cls") and parameter.kind is not parameter.VAR_KEYWORD
    ]


@pytest.mark.parametrize("name", [*NAMES, *METHODS])
def test_every_parameter_is_told_and_no_other(name: str) -> None:
    thing = resolve_name(name)
    if inspect.isclass(thing) and issubclass(thing, Enum):
        return
    text = re.sub(r"\s*\n +", " ", inspect.getdoc(thing) or "")
    told = dict(re.findall(r"^:param (\w+): (.+)$", text, re.MULTILINE))
    # What goes to Airflow's own class may be told, as that is where its arguments come from.
    assert set(told) - {"kwargs", "options"} == {parameter.name for parameter in signature_of(thing)}
    for field in set(getattr(thing, "template_fields", ())) & set(told):
        assert re.search(r"\b[Tt]emplated\b|never treated as templates", told[field]), field
