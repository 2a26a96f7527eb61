"""docs/connection.md: its connections are connections, and its table has every field."""

from __future__ import annotations

import json
import re

from airflow.configuration import conf

from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection import client_config
from airflow_provider_achieveit.hooks.connection_form import EXTRA_FIELDS
from tests.docs.blocks import ROOT, blocks
from tests.docs.terminal import Terminal

TEXT = (ROOT / "docs" / "connection.md").read_text(encoding="utf-8")


def test_every_field_is_told_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", TEXT, re.MULTILINE))
    assert list(rows) == list(EXTRA_FIELDS)
    for name, field in EXTRA_FIELDS.items():
        default = field["schema"].get("default")
        told = "none" if default is None else str(default).lower()
        assert rows[name].strip("`").startswith(told), name


def test_the_environment_variables_make_connections(terminal: Terminal) -> None:
    for block in blocks("docs/connection.md", "console", "Making one"):
        terminal.type(block)
        with AchieveItHook().get_conn() as client:
            assert client.config.base_url == "https://gov-api.achieveit.com"
            assert client.config.api_key == "YOUR-API-KEY"
    assert client.config.max_requests_per_minute == 60


def test_airflow_is_told_to_test_connections(terminal: Terminal) -> None:
    [block] = blocks("docs/connection.md", "console", "Testing one")
    terminal.type(block)
    assert conf.get("core", "test_connection") == "Enabled"
    assert conf.configuration_description["core"]["options"]["test_connection"]["default"] == "Disabled"


def test_the_json_of_the_extra_field_is_understood() -> None:
    [extra] = blocks("docs/connection.md", "json")
    made = client_config(host="", port=0, password="key-of-a-test", extra=json.loads(extra))
    assert (made.base_url, made.max_requests_per_minute) == ("https://gov-api.achieveit.com", 60)
