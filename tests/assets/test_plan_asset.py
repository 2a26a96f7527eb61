"""Addresses of plans, through Airflow's own Asset and providers manager."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset
from sqlalchemy import create_engine

from airflow_provider_achieveit.assets.plan import api_host
from airflow_provider_achieveit.assets.targets import file_uri, table_uri
from tests.airflow_versions import AIRFLOW
from tests.postgres import POSTGRES_URL, connect_or_skip

CANONICAL = "achieveit://api.achieveit.com/plans/42"


@pytest.mark.parametrize(
    "given",
    [
        CANONICAL,
        "AchieveIt://API.achieveit.com/plans/42",
        "achieveit://api.achieveit.com:443/plans/42/",
        # Airflow leaves fragments out before anybody is asked.
        "achieveit://api.achieveit.com/plans/42#top",
    ],
)
def test_one_plan_has_one_address(given: str) -> None:
    assert Asset(given).uri == CANONICAL


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("achieveit://localhost:8443/plans/A-b", "achieveit://localhost:8443/plans/A-b"),
        ("achieveit://[::1]:8443/plans/7", "achieveit://[::1]:8443/plans/7"),
        ("achieveit://h/plans/a%2Fb", "achieveit://h/plans/a%2Fb"),
    ],
)
def test_what_belongs_to_an_address_is_kept(given: str, kept: str) -> None:
    assert Asset(given).uri == kept


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("achieveit:///plans/42", "The asset of a plan is achieveit://<host>/plans/<id>, not achieveit:///plans/42"),
        ("achieveit://h", "not achieveit://h/"),
        ("achieveit://h/plans", "not achieveit://h/plans"),
        ("achieveit://h/plans/42/items", "not achieveit://h/plans/42/items"),
        ("achieveit://h/plan/42", "not achieveit://h/plan/42"),
        ("achieveit://h:port/plans/42", "not achieveit://h:port/plans/42"),
        ("achieveit://h/plans/42?skip=1", "must not have a query"),
        ("achieveit://secret-key@h/plans/42", "plan 42 must not have credentials"),
    ],
)
def test_another_address_is_refused(given: str, told: str) -> None:
    message = told.replace("?", r"\?")
    if AIRFLOW < (3,) or (AIRFLOW < (3, 1) and "@" in given):
        # Airflow 2 warns, and says that it has dropped credentials, as 3.0 does.
        with pytest.warns(UserWarning, match=f"{message}|should not contain auth info") as warned:
            Asset(given)
        assert "secret-key" not in str([warning.message for warning in warned])
        return
    with pytest.raises(ValueError, match=message) as caught:
        Asset(given)
    assert "secret-key" not in str(caught.value)


def test_a_password_is_left_out() -> None:
    """By Airflow, which warns of it."""
    with pytest.warns(UserWarning, match="should not contain (a password|auth info)"):
        assert Asset("achieveit://user:secret@h/plans/42").uri == "achieveit://h/plans/42"


def factory() -> Any:
    if AIRFLOW < (3, 2):
        from airflow.providers_manager import ProvidersManager

        manager = ProvidersManager()
        return (manager.dataset_factories if AIRFLOW < (3,) else manager.asset_factories)["achieveit"]
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    return ProvidersManagerTaskRuntime().asset_factories["achieveit"]


def test_airflow_finds_the_factory() -> None:
    asset = factory()(host="API.achieveit.com", plan_id="42", extra={"owner": "strategy"})
    assert (asset.uri, asset.extra) == (CANONICAL, {"owner": "strategy"})
    assert factory()(host="h", plan_id="a/b").uri == "achieveit://h/plans/a%2Fb"
    told = "not achieveit://h/plans"
    # Airflow 2 warns.
    expected = pytest.warns(UserWarning, match=told) if AIRFLOW < (3,) else pytest.raises(ValueError, match=told)
    with expected:
        factory()(host="h", plan_id="")


def test_openlineage_has_a_dataset_for_it() -> None:
    from airflow.providers.openlineage.utils.utils import translate_airflow_asset

    dataset = translate_airflow_asset(Asset("achieveit://API.achieveit.com:8443/plans/42"), None)
    assert dataset is not None
    assert (dataset.namespace, dataset.name) == ("achieveit://api.achieveit.com:8443", "plans/42")


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://API.achieveit.com", "api.achieveit.com"),
        ("https://gateway.example.com:443/achieveit", "gateway.example.com"),
        ("http://127.0.0.1:8085", "127.0.0.1:8085"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_the_host_of_a_connection(base_url: str, host: str) -> None:
    assert api_host(base_url) == host
    assert Asset(f"achieveit://{host}/plans/1").uri == f"achieveit://{host}/plans/1"


def test_a_table_of_postgres_is_the_asset_that_airflows_provider_makes() -> None:
    from airflow.providers.postgres.assets.postgres import create_asset

    connect_or_skip().close()
    engine = create_engine(POSTGRES_URL)
    engine.connect().close()
    url = engine.url
    expected = create_asset(
        host=str(url.host), port=url.port or 5432, database=str(url.database), schema="public", table="plan_items"
    )
    assert table_uri(engine, None, "plan_items") == expected.uri
    assert str(table_uri(engine, "lake", "plan_items")).endswith("/lake/plan_items")
    engine.dispose()


def test_other_tables_have_the_addresses_of_their_providers_or_none() -> None:
    mysql = create_engine("mysql+pymysql://user:secret@h/lake")
    assert table_uri(mysql, "lake", "plan_items") == "mysql://h:3306/lake/plan_items"
    assert table_uri(mysql, "lake", "pläne/alle") == "mysql://h:3306/lake/pl%C3%A4ne%2Falle"
    assert table_uri(create_engine("sqlite:////tmp/w.db"), "main", "plan_items") is None


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/lake/plan.csv", "file:///lake/plan.csv"),
        ("file:///lake/plan.csv", "file:///lake/plan.csv"),
        ("s3://aws_lake@bucket/plans/42.parquet", "s3://bucket/plans/42.parquet"),
        ("gs://bucket/42.jsonl", "gs://bucket/42.jsonl"),
        # Airflow has no asset whose address is not ASCII, and leaves out what follows "#".
        ("/lake/größe of plan@1%.csv", "file:///lake/gr%C3%B6%C3%9Fe of plan@1%.csv"),
        ("s3://bucket/plan#1?.csv", "s3://bucket/plan%231%3F.csv"),
    ],
)
def test_the_address_of_a_file(path: str, uri: str) -> None:
    assert file_uri(path) == uri
    assert Asset(uri).uri == uri
