"""The values of docs/kubernetes.md: every name in them against what it names; the chart itself is not here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from airflow.models.connection import Connection
from packaging.requirements import Requirement

import airflow_provider_achieveit
from airflow_provider_achieveit.get_provider_info import get_provider_info
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection import EXTRA_FIELDS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
VERSION = airflow_provider_achieveit.__version__


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


VALUES: dict[str, Any] = yaml.safe_load(block("yaml"))


def locked_airflow() -> str:
    text = (ROOT / "constraints" / "lock.in").read_text(encoding="utf-8")
    [version] = re.findall(r"^apache-airflow==(.+)$", text, re.MULTILINE)
    return str(version)


def test_one_version_of_airflow_and_of_the_provider() -> None:
    airflow, python = re.findall(r"^FROM apache/airflow:([\d.]+)-python([\d.]+)$", block("dockerfile"), re.MULTILINE)[0]
    assert airflow == VALUES["airflowVersion"] == locked_airflow()
    assert (ROOT / "constraints" / f"py{python}.txt").exists()
    assert VALUES["images"]["airflow"]["tag"] == f"{airflow}-{VERSION}"


def test_the_image_has_the_provider_with_extras_that_exist() -> None:
    [line] = re.findall(r'"(airflow-provider-achieveit.+?)"', block("dockerfile"))
    wanted = Requirement(line)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert wanted.specifier.contains(VERSION)
    assert all(re.search(rf"^{extra} = \[", text, re.MULTILINE) for extra in wanted.extras)


def test_the_connection_is_one_that_the_provider_takes() -> None:
    connection = Connection.from_json(block("json"), conn_id=AchieveItHook.default_conn_name)
    assert connection.conn_type == AchieveItHook.conn_type
    assert set(connection.extra_dejson) <= set(EXTRA_FIELDS)
    assert connection.password == "YOUR-API-KEY"
    assert VALUES["secret"][0]["envName"] == f"AIRFLOW_CONN_{AchieveItHook.default_conn_name.upper()}"


def test_every_secret_and_config_map_is_made() -> None:
    made = re.findall(r"kubectl create secret generic (\S+) --from-file=(\w+)=(\w+)\.json", PAGE)
    assert {(one["secretName"], one["secretKey"]) for one in VALUES["secret"]} == {(name, key) for name, key, _ in made}
    maps = re.findall(r"kubectl create configmap (\S+) --from-file=(\S+)", PAGE)
    assert [volume["configMap"]["name"] for volume in VALUES["volumes"]] == [name for name, _ in maps]


def test_the_ca_is_where_the_connection_looks_for_it() -> None:
    [volume], [mount] = VALUES["volumes"], VALUES["volumeMounts"]
    [(_, file)] = re.findall(r"kubectl create configmap (\S+) --from-file=(\S+)", PAGE)
    assert volume["name"] == mount["name"]
    assert json.loads(block("json"))["extra"]["verify"] == f"{mount['mountPath']}/{file}"


def test_the_ledger_is_a_connection_and_the_setting_exists() -> None:
    [variable] = VALUES["env"]
    _, section, option = variable["name"].lower().split("__")
    assert option in get_provider_info()["config"][section]["options"]
    assert f"AIRFLOW_CONN_{variable['value'].upper()}" in {one["envName"] for one in VALUES["secret"]}


def test_every_part_that_may_be_there_twice_is() -> None:
    parts = (VALUES["workers"]["celery"], VALUES["triggerer"], VALUES["apiServer"], VALUES["scheduler"])
    assert [part["replicas"] for part in parts] == [2, 2, 2, 2]


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
