"""The hook: from an Airflow connection to calls of the AchieveIt API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_achieveit.api.contract import MAX_TAKE, BodyFormat, JobState, JobStatus, UpdateKind
from airflow_provider_achieveit.exceptions import (
    AchieveItError,
    AchieveItRequestError,
    error_for,
    typed_errors,
)

if TYPE_CHECKING:
    import pandas as pd

    from airflow_provider_achieveit.api.aio import AsyncAchieveItClient
    from airflow_provider_achieveit.api.client import AchieveItClient
    from airflow_provider_achieveit.api.config import ClientConfig


class AchieveItHook(BaseHook):
    """Talk to AchieveIt through an Airflow connection of type ``achieveit``.

    The connection: password = API key, host = base URL (empty: by ``environment``), extra fields ``environment``,
    ``timeout``, ``connect_timeout``, ``max_retries``, ``verify``, ``plan_id`` and ``allow_http``. The help centre's
    "API Basics" tells how to get a key.

    :param achieveit_conn_id: id of the connection, default ``achieveit_default``.
    """

    conn_name_attr = "achieveit_conn_id"
    default_conn_name = "achieveit_default"
    conn_type = "achieveit"
    hook_name = "AchieveIt"

    def __init__(self, achieveit_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.achieveit_conn_id = achieveit_conn_id

    def get_conn(self) -> AchieveItClient:
        """Return a client to call the API with; close it, or use it as a context manager.

        :raises AchieveItRequestError: the connection's settings cannot be used; the message says why.
        """
        from airflow_provider_achieveit.api.client import AchieveItClient

        try:
            connection = self.get_connection(self.achieveit_conn_id)
        except AirflowNotFoundException as error:
            raise AchieveItRequestError(
                f"There is no connection {self.achieveit_conn_id!r}: make one of type achieveit ({error})"
            ) from None
        config = self._config(connection, connection.extra_dejson)
        # Not every Airflow masks the password of a connection that comes from the environment.
        mask_secret(config.api_key)
        return AchieveItClient(config)

    @asynccontextmanager
    async def get_async_conn(self) -> AsyncIterator[AsyncAchieveItClient]:
        """Give an asynchronous client; all users in one event loop share its HTTP session.

        :raises AchieveItRequestError: the connection's settings cannot be used; the message says why.
        """
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        from airflow_provider_achieveit.api.aio import shared_client

        connection = await get_async_connection(self.achieveit_conn_id, self)
        config = self._config(connection, await get_async_extra_dejson(connection))
        async with shared_client(config) as client:
            yield client

    def _config(self, connection: Any, extra: dict[str, Any]) -> ClientConfig:
        from airflow_provider_achieveit.hooks.connection import client_config

        try:
            return client_config(host=connection.host, port=connection.port, password=connection.password, extra=extra)
        except ValueError as error:
            raise AchieveItRequestError(f"Connection {self.achieveit_conn_id!r}: {error}") from None

    def submit_updates(
        self, *, kind: UpdateKind | str, filename: str, body: bytes, body_format: BodyFormat | str | None = None
    ) -> str:
        """Queue one batch as it is and return its job id; the submit operators check and record, this does not.

        See "Submitting Progress Updates" and "Submitting Metric Updates" in the help centre.

        :param kind: ``progress`` or ``metric``.
        :param filename: the batch's name, ending in ``.csv`` or ``.json``.
        :param body: the batch, UTF-8.
        :param body_format: ``csv`` or ``json``; default: by the filename.
        :raises AchieveItUnsureSubmissionError: the batch went out and no usable answer came back.
        :raises AchieveItError: another of the typed errors; the batch is then not queued.
        """
        suffix = filename.rpartition(".")[2].lower()
        expected = BodyFormat(body_format or suffix)
        if suffix != expected:
            raise AchieveItRequestError(f"The filename {filename!r} must end in .{expected}: AchieveIt goes by it.")
        with typed_errors(), self.get_conn() as client:
            return client.submit(UpdateKind(kind), filename, body)

    def get_job_status(self, job_id: str, kind: UpdateKind | str = UpdateKind.PROGRESS) -> JobStatus:
        """Ask once for the state of a job.

        A single ``failed`` (HTTP 500) may be a passing fault; :meth:`wait_for_jobs` counts it only when repeated.

        :param job_id: the job.
        :param kind: ``progress`` (default) or ``metric``.
        :raises AchieveItError: one of the typed errors.
        """
        with typed_errors(), self.get_conn() as client:
            return client.job_status(UpdateKind(kind), job_id)

    def wait_for_jobs(
        self,
        job_ids: list[str],
        *,
        kind: UpdateKind | str = UpdateKind.PROGRESS,
        poll_interval: float = 10.0,
        timeout: float = 3600.0,
    ) -> None:
        """Wait until all jobs are applied.

        :param job_ids: the jobs.
        :param kind: ``progress`` (default) or ``metric``.
        :param poll_interval: seconds between two looks, default 10.
        :param timeout: seconds to wait at most, default 3600.
        :raises AchieveItJobFailedError: a job was refused or failed; all jobs have ended then.
        :raises AchieveItJobTimeoutError: the time was up.
        """
        from airflow_provider_achieveit.api.jobs import JobWait

        now = time.time()
        wait = JobWait(job_ids, poll_interval=poll_interval, deadline=now + timeout, now=now)
        with typed_errors(), self.get_conn() as client:
            failure = client.wait_for_jobs(UpdateKind(kind), wait).combined_failure()
        if failure:
            raise error_for(failure)

    def iter_plan_items(
        self, plan_id: str, *, page_size: int = MAX_TAKE, sort_key: str = "sequenceId"
    ) -> Iterator[dict[str, Any]]:
        """Give a plan's items as the API has them now, page by page; numbers with a point are exact decimals.

        The items flow while pages are read. If the plan changes meanwhile so that the pages do not fit together, the
        iterator ends with an error after the last page; nothing given before should be kept then.
        See "Exporting Plan Items" in the help centre.

        :param plan_id: the plan.
        :param page_size: items in a request, 1 to 1500 (default).
        :param sort_key: the API's sort key, default ``sequenceId``.
        :raises AchieveItInconsistentExportError: the plan changed while it was read.
        :raises AchieveItForbiddenError: this key's user may not see the plan.
        """
        from airflow_provider_achieveit.api.paging import read_plan_once

        with typed_errors(), self.get_conn() as client:
            for page in read_plan_once(client, plan_id, page_size=page_size, sort_key=sort_key):
                yield from page.items

    def get_plan_df(self, plan_id: str, *, sort_key: str = "sequenceId") -> pd.DataFrame:
        """Return a plan's items as a DataFrame of objects, one row an item, columns named as in the API.

        Values are what the API sent (None for null, exact decimals, lists for lists): no column is converted, so
        neither a null nor a big integer changes.

        :param plan_id: the plan.
        :param sort_key: the API's sort key, default ``sequenceId``.
        :raises AchieveItInconsistentExportError: the plan changed while it was read.
        """
        import pandas as pd

        from airflow_provider_achieveit.api.paging import read_plan

        items: list[dict[str, Any]] = []
        with typed_errors(), self.get_conn() as client:
            read_plan(
                partial(client.fetch_plan_page, plan_id),
                plan_id=plan_id,
                on_page=items.extend,
                on_restart=lambda _: items.clear(),
                sort_key=sort_key,
            )
        names = dict.fromkeys(name for item in items for name in item)
        return pd.DataFrame(
            {name: pd.Series([item.get(name) for item in items], dtype=object) for name in names}, dtype=object
        )

    def test_connection(self) -> tuple[bool, str]:
        """Tell what works: reachable, key accepted, plan readable. Read-only; one or two requests.

        The API has no call that only checks a key. With the extra field ``plan_id`` one item of that plan is read;
        without it a job that cannot exist is asked for: an answer of the API but 401 and 403 did not refuse the key.
        """
        try:
            extra = self.get_connection(self.achieveit_conn_id).extra_dejson
            with typed_errors(), self.get_conn() as client:
                # Somebody is looking at the form: no repeats, no long patience.
                client.config = replace(client.config, max_retries=0, timeout=min(client.config.timeout, 15.0))
                plan_id = str(extra.get("plan_id") or "")
                if plan_id:
                    page = client.fetch_plan_page(plan_id, skip=0, take=1, sort_key="sequenceId")
                    return True, f"The key was accepted; plan {plan_id} is readable and has {page.total_count} items."
                status = client.job_status(UpdateKind.PROGRESS, "00000000-0000-0000-0000-000000000000")
                if status.state is JobState.FAILED:
                    return False, f"{client.config.base_url} answered HTTP 500 {status.reason!r}"
                return True, "AchieveIt answered and did not refuse the key. Set plan_id to test reading a plan too."
        except AchieveItError as error:
            return False, str(error)
        except Exception as error:  # the form shows what it is told; a traceback would help nobody there
            return False, f"{type(error).__name__}: {error}"
