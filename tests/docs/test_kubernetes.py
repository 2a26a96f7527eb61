"""The values of docs/kubernetes.md: every name in them against what it names; the chart itself is not here."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from airflow.models.connection import Connection
from packaging.requirements import Requirement

import airflow_provider_achieveit
from airflow_provider_achieveit.get_provider_info import get_provider_info
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.hooks.connection import EXTRA_FIELDS
from tests.docs.blocks import ROOT, blocks

VERSION = airflow_provider_achieveit.__version__
[DOCKERFILE] = blocks("docs/kubernetes.md", "dockerfile")
[CONNECTION] = blocks("docs/kubernetes.md", "json")
[KUBECTL] = blocks("docs/kubernetes.md", "console", "The secrets")
[YAML] = blocks("docs/kubernetes.md", "yaml")
VALUES: dict[str, Any] = yaml.safe_load(YAML)


def locked_airflow() -> str:
    text = (ROOT / "constraints" / "lock.in").read_text(encoding="utf-8")
    [version] = re.findall(r"^apache-airflow==(.+)$", text, re.MULTILINE)
    return str(version)


def test_one_version_of_airflow_and_of_the_provider() -> None:
    airflow, python = re.findall(r"^FROM apache/airflow:([\d.]+)-python([\d.]+)$", DOCKERFILE, re.MULTILINE)[0]
    assert airflow == VALUES["airflowVersion"] == locked_airflow()
    assert (ROOT / "constraints" / f"py{python}.txt").exists()
    assert VALUES["images"]["airflow"]["tag"] == f"{airflow}-{VERSION}"


def test_the_image_has_the_provider_with_extras_that_exist() -> None:
    [line] = re.findall(r'"(airflow-provider-achieveit.+?)"', DOCKERFILE)
    wanted = Requirement(line)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert wanted.specifier.contains(VERSION)
    assert all(re.search(rf"^{extra} = \[", text, re.MULTILINE) for extra in wanted.extras)


def test_the_connection_is_one_that_the_provider_takes() -> None:
    connection = Connection.from_json(CONNECTION, conn_id=AchieveItHook.default_conn_name)
    assert connection.conn_type == AchieveItHook.conn_type
    assert set(connection.extra_dejson) <= set(EXTRA_FIELDS)
    assert connection.password == "YOUR-API-KEY"
    assert VALUES["secret"][0]["envName"] == f"AIRFLOW_CONN_{AchieveItHook.default_conn_name.upper()}"


def test_every_secret_and_config_map_is_made() -> None:
    made = re.findall(r"kubectl create secret generic (\S+) --from-file=(\w+)=(\w+)\.json", KUBECTL)
    assert {(one["secretName"], one["secretKey"]) for one in VALUES["secret"]} == {(name, key) for name, key, _ in made}
    maps = re.findall(r"kubectl create configmap (\S+) --from-file=(\S+)", KUBECTL)
    assert [volume["configMap"]["name"] for volume in VALUES["volumes"]] == [name for name, _ in maps]


def test_the_ca_is_where_the_connection_looks_for_it() -> None:
    [volume], [mount] = VALUES["volumes"], VALUES["volumeMounts"]
    [(_, file)] = re.findall(r"kubectl create configmap (\S+) --from-file=(\S+)", KUBECTL)
    assert volume["name"] == mount["name"]
    assert json.loads(CONNECTION)["extra"]["verify"] == f"{mount['mountPath']}/{file}"


def test_the_ledger_is_a_connection_and_the_setting_exists() -> None:
    [variable] = VALUES["env"]
    _, section, option = variable["name"].lower().split("__")
    assert option in get_provider_info()["config"][section]["options"]
    assert f"AIRFLOW_CONN_{variable['value'].upper()}" in {one["envName"] for one in VALUES["secret"]}


def test_every_part_that_may_be_there_twice_is() -> None:
    parts = (VALUES["workers"]["celery"], VALUES["triggerer"], VALUES["apiServer"], VALUES["scheduler"])
    assert [part["replicas"] for part in parts] == [2, 2, 2, 2]


def test_the_chart_is_the_one_that_was_checked() -> None:
    [block] = blocks("docs/kubernetes.md", "console", "The values")
    [version] = re.findall(r"--version (\S+)", block)
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    assert f"those of chart {version}: the whole block was checked" in page
    assert "--values values.yaml" in block
