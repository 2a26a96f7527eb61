"""The hook, through Airflow's own connections, against the simulator."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_achieveit.api.contract import JobState
from airflow_provider_achieveit.exceptions import (
    AchieveItAuthError,
    AchieveItForbiddenError,
    AchieveItInconsistentExportError,
    AchieveItJobFailedError,
    AchieveItJobRefusedError,
    AchieveItJobTimeoutError,
    AchieveItRequestError,
)
from airflow_provider_achieveit.hooks.achieveit import AchieveItHook
from airflow_provider_achieveit.simulator.seed_data import generated_plan
from airflow_provider_achieveit.simulator.server import RunningSimulator
from tests.airflow_versions import AIRFLOW

BODY = b"External ID,Status,Metric Value,As Of Date\npat-nps,On Track,41,2026-01-05"
CONN = "AIRFLOW_CONN_ACHIEVEIT_DEFAULT"


def set_connection(monkeypatch: pytest.MonkeyPatch, simulator: RunningSimulator, **changes: object) -> None:
    connection = json.loads(simulator.connection())
    connection["extra"].update(changes.pop("extra", {}))  # type: ignore[call-overload]
    monkeypatch.setenv(CONN, json.dumps({**connection, **changes}))


class TestConnection:
    def test_settings_that_cannot_be_used_name_the_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            CONN, '{"conn_type": "achieveit", "host": "http://api.achieveit.com", "password": "testkey"}'
        )
        with pytest.raises(AchieveItRequestError, match=r"'achieveit_default': plain http to api.achieveit.com is ref"):
            AchieveItHook().get_conn()

    def test_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CONN, '{"conn_type": "achieveit"}')
        with pytest.raises(AchieveItRequestError, match="no API key: put it into the password field"):
            AchieveItHook().get_conn()

    async def test_the_asynchronous_client_is_the_same(self, simulator: RunningSimulator) -> None:
        from airflow_provider_achieveit.api.contract import UpdateKind

        job_id = AchieveItHook().submit_updates(kind="progress", filename="a.csv", body=BODY)
        async with AchieveItHook().get_async_conn() as client:
            status = await client.job_status(UpdateKind.PROGRESS, job_id)
        assert status.state in (JobState.APPLIED, JobState.PENDING)

    async def test_who_asks_while_a_connection_is_looked_up_gets_the_same_answer(
        self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the first who asked is cancelled meanwhile; who asks later gets a new answer."""
        from airflow.providers.common.compat import connection

        look_up, looked_up = connection.get_async_connection, []

        async def slowly(conn_id: str, hook: Any) -> Any:
            looked_up.append(conn_id)
            await asyncio.sleep(0.05)
            return await look_up(conn_id, hook)

        monkeypatch.setattr(connection, "get_async_connection", slowly)
        asking = [asyncio.create_task(AchieveItHook().get_async_config()) for _ in range(100)]
        await asyncio.sleep(0.01)
        asking[0].cancel()
        first, *others = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert len(looked_up) == 1
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", '{"conn_type": "achieveit", "password": "another"}')
        assert (await AchieveItHook().get_async_config()).api_key == "another"
        assert {config.api_key for config in others} == {simulator.api_key}
        with pytest.raises(AirflowException, match="nowhere"):
            await AchieveItHook("nowhere").get_async_config()
        assert looked_up == ["achieveit_default"] * 2 + ["nowhere"]


class TestJobs:
    def test_submit_and_wait(self, simulator: RunningSimulator) -> None:
        hook = AchieveItHook()
        job_id = hook.submit_updates(kind="progress", filename="a.csv", body=BODY)
        hook.wait_for_jobs([job_id], poll_interval=0.02, timeout=10)
        assert hook.get_job_status(job_id).state is JobState.APPLIED

    def test_refused_is_final(self, simulator: RunningSimulator) -> None:
        hook = AchieveItHook()
        job_id = hook.submit_updates(kind="progress", filename="a.csv", body=b"External ID\nnope")
        with pytest.raises(AchieveItJobRefusedError, match=job_id) as caught:
            hook.wait_for_jobs([job_id], poll_interval=0.02, timeout=10)
        assert isinstance(caught.value, AirflowFailException)
        assert (caught.value.job_id, caught.value.retryable) == (job_id, False)

    def test_failed_may_be_retried(self, simulator: RunningSimulator) -> None:
        simulator.faults.add("fail_job")
        hook = AchieveItHook()
        job_id = hook.submit_updates(kind="progress", filename="a.csv", body=BODY)
        with pytest.raises(AchieveItJobFailedError) as caught:
            hook.wait_for_jobs([job_id], poll_interval=0.02, timeout=10)
        assert not isinstance(caught.value, AirflowFailException)
        assert caught.value.retryable

    def test_timeout(self, simulator: RunningSimulator) -> None:
        simulator.world.settings.job_seconds = 60
        hook = AchieveItHook()
        job_id = hook.submit_updates(kind="progress", filename="a.csv", body=BODY)
        with pytest.raises(AchieveItJobTimeoutError, match="may still apply it"):
            hook.wait_for_jobs([job_id], poll_interval=0.02, timeout=0.1)

    def test_a_wrong_key_is_typed(self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
        set_connection(monkeypatch, simulator, password="wrong-canary-key")
        with pytest.raises(AchieveItAuthError) as caught:
            AchieveItHook().submit_updates(kind="metric", filename="a.csv", body=BODY)
        assert caught.value.status == 401
        assert "canary" not in str(caught.value)

    def test_the_filename_must_tell_the_format(self, simulator: RunningSimulator) -> None:
        with pytest.raises(AchieveItRequestError, match=r"must end in \.json"):
            AchieveItHook().submit_updates(kind="metric", filename="a.csv", body=b"[]", body_format="json")
        assert not simulator.world.requests


class TestPlans:
    def test_items_are_what_the_server_has(self, simulator: RunningSimulator) -> None:
        plan = generated_plan(230, seed=7)
        simulator.world.plans[plan.id] = plan
        items = list(AchieveItHook().iter_plan_items(plan.id, page_size=50))
        assert len(items) == len({item["id"] for item in items}) == 230

    def test_a_plan_that_changes_ends_with_an_error(self, simulator: RunningSimulator) -> None:
        plan = generated_plan(230, seed=7)
        simulator.world.plans[plan.id] = plan
        simulator.faults.add("mutate", path="skip=98", changes=["insert"])
        with pytest.raises(AchieveItInconsistentExportError, match=plan.id) as caught:
            list(AchieveItHook().iter_plan_items(plan.id, page_size=50))
        assert caught.value.retryable

    def test_a_loop_that_is_left_early_reads_no_more(self, simulator: RunningSimulator) -> None:
        plan = generated_plan(900, seed=7)
        simulator.world.plans[plan.id] = plan
        items = AchieveItHook().iter_plan_items(plan.id, page_size=20, parallel_pages=2)
        assert next(items)["id"] == plan.items[0].fields["id"]
        items.close()  # type: ignore[attr-defined]
        assert len(simulator.world.requests) <= 4

    def test_a_plan_that_changes_is_read_again_for_a_dataframe(self, simulator: RunningSimulator) -> None:
        plan = generated_plan(230, seed=7)
        simulator.world.plans[plan.id] = plan
        simulator.faults.add("mutate", path="skip=98", changes=["insert"])
        with pytest.raises(AchieveItInconsistentExportError, match=plan.id):
            AchieveItHook().get_plan_df(plan.id, page_size=50, parallel_pages=1, max_reads=1)
        simulator.faults.add("mutate", path="skip=98", changes=["insert"])
        frame = AchieveItHook().get_plan_df(plan.id, page_size=50)
        assert list(frame["id"]) == [item.fields["id"] for item in plan.items]
        assert len(frame) == 232

    def test_settings_that_no_read_can_use(self, simulator: RunningSimulator) -> None:
        with pytest.raises(ValueError, match="parallel_pages"):
            next(AchieveItHook().iter_plan_items("p", parallel_pages=0))
        with pytest.raises(ValueError, match="max_reads"):
            AchieveItHook().get_plan_df("p", max_reads=0)
        assert simulator.world.requests == []

    def test_a_dataframe_without_pandas(self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match=r"install airflow-provider-achieveit\[pandas\]"):
            AchieveItHook().get_plan_df("p")
        assert simulator.world.requests == []

    def test_a_plan_without_items(self, simulator: RunningSimulator) -> None:
        plan = generated_plan(0, seed=7)
        simulator.world.plans[plan.id] = plan
        assert list(AchieveItHook().iter_plan_items(plan.id)) == []
        assert AchieveItHook().get_plan_df(plan.id).shape == (0, 0)

    def test_403(self, simulator: RunningSimulator) -> None:
        with pytest.raises(AchieveItForbiddenError, match="this key's user may not see plan nope"):
            list(AchieveItHook().iter_plan_items("nope"))

    def test_a_dataframe_changes_no_value(self, simulator: RunningSimulator) -> None:
        [plan] = simulator.world.plans.values()
        first = plan.items[0]
        first.fields["updates"] = 2**53 + 1
        first.fields["start"] = None
        frame = AchieveItHook().get_plan_df(plan.id).set_index("id")
        row = frame.loc[first.fields["id"]]
        assert row["updates"] == 2**53 + 1
        assert type(row["updates"]) is int
        assert row["start"] is None
        assert isinstance(row["members"], list)
        goals = [goal for goals in frame["advancedMetricGoals"] for goal in goals]
        assert goals
        assert all(isinstance(goal["metricBucketValue"], Decimal) for goal in goals)


@pytest.mark.parametrize(
    ("extra", "told"),
    [('{"environment": "government",}', "the extra is no JSON"), ('["government"]', "the extra must be a JSON object")],
)
def test_an_extra_that_cannot_be_read_does_not_send_the_key_to_another_address(
    monkeypatch: pytest.MonkeyPatch, extra: str, told: str
) -> None:
    monkeypatch.setenv(CONN, json.dumps({"conn_type": "achieveit", "password": "a-key-of-a-tenant", "extra": extra}))
    if (3,) <= AIRFLOW < (3, 2):
        told = "There is no connection"  # to Airflow 3.0 and 3.1
    with pytest.raises(AchieveItRequestError, match=told):
        AchieveItHook().get_conn()
    works, message = AchieveItHook().test_connection()
    assert (works, message.startswith("Nothing was tested: "), told in message) == (False, True, True)
