"""docs/simulator.md, typed: plans of one's own, faults, other tenants; and its test is a test."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from airflow_provider_achieveit.simulator.faults import KINDS
from airflow_provider_achieveit.simulator.server import RunningSimulator
from airflow_provider_achieveit.simulator.settings import settings_from_json
from tests.docs.blocks import ROOT, blocks
from tests.docs.terminal import Terminal, needs_program, steps

PAGE = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


@needs_program("curl")
def test_it_starts_has_plans_of_ones_own_misbehaves_and_is_another_tenant(terminal: Terminal) -> None:
    terminal.instead["$PWD"] = str(terminal.directory)
    [start] = blocks("docs/simulator.md", "console", "Start it")
    (install, _), (line, shown) = steps(start)
    assert install == "pip install '.[simulator]'"
    terminal.type(f"$ {line}\n{shown}")
    [plans] = blocks("docs/simulator.md", "console", "What is in it")
    terminal.type(plans)
    [fault] = blocks("docs/simulator.md", "console", "Let it misbehave")
    [(line, _)] = steps(fault)
    terminal.type(f"$ {line} --output fault.json\n")
    [rule] = json.loads((terminal.directory / "fault.json").read_text(encoding="utf-8"))
    assert (rule["kind"], rule["after"]) == ("reset", True)
    [tenant] = blocks("docs/simulator.md", "console", "Let it be another tenant")
    terminal.type(tenant)
    changed = json.loads((terminal.directory / "settings.json").read_text(encoding="utf-8"))
    told = json.loads(shlex.split(next(steps(tenant))[0])[-1])
    assert told.items() <= changed.items()
    assert settings_from_json(told)


def test_its_test_is_a_test(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = blocks("docs/simulator.md", "python")
    space: dict[str, Any] = {}
    exec(source, space)
    space["test_my_push_arrives"](monkeypatch)


def test_every_fault_is_told() -> None:
    table = PAGE.partition("| `kind` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(KINDS)


def test_its_plan_is_as_it_says(simulator: RunningSimulator) -> None:
    [plan] = simulator.world.plans.values()
    metrics = [item for item in plan.items if item.fields.get("hasMetric")]
    assert f"`{plan.id}`: the strategy of a health system, {len(plan.items)} items; {len(metrics)} key results" in PAGE
    assert {"pat-nps", "fin-margin"} <= {item.external_id for item in metrics}
