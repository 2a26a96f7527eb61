"""The hook: from an Airflow connection to calls of the AchieveIt API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_achieveit.api.contract import MAX_TAKE, BodyFormat, JobStatus, UpdateKind
from airflow_provider_achieveit.api.frames import cleared_frames
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

_lookups: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[type, str], asyncio.Task[ClientConfig]]] = (
    WeakKeyDictionary()
)
"""By event loop: connections that are being looked up just now."""


class AchieveItHook(BaseHook):
    """Talk to AchieveIt through an Airflow connection of type ``achieveit``.

    The connection: password = API key, host = base URL (empty: by ``environment``), extra fields ``environment``,
    ``timeout``, ``connect_timeout``, ``max_retries``, ``max_requests_per_minute``, ``verify``, ``plan_id``,
    ``web_url`` and ``allow_http``. The help centre's "API Basics" tells how to get a key.

    :param achieveit_conn_id: id of the connection, default ``achieveit_default``.
    """

    conn_name_attr = "achieveit_conn_id"
    default_conn_name = "achieveit_default"
    conn_type = "achieveit"
    hook_name = "AchieveIt"

    def __init__(self, achieveit_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.achieveit_conn_id = achieveit_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields for Airflow 2.11, 3.0 and 3.1; later ones read the provider's metadata."""
        from airflow_provider_achieveit.hooks.connection_form import form_widgets

        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what becomes of the form's standard fields, for Airflow 2.11, 3.0 and 3.1."""
        from airflow_provider_achieveit.hooks.connection_form import field_behaviour

        return field_behaviour()

    def get_conn(self) -> AchieveItClient:
        """Return a client to call the API with; close it, or use it as a context manager.

        :raises AchieveItRequestError: the connection's settings cannot be used; the message says why.
        """
        from airflow_provider_achieveit.api.client import AchieveItClient

        with self._settings_told():
            return AchieveItClient(self._read_config())

    @asynccontextmanager
    async def get_async_conn(self) -> AsyncIterator[AsyncAchieveItClient]:
        """Give an asynchronous client; all users in one event loop share its HTTP session.

        :raises AchieveItRequestError: the connection's settings cannot be used; the message says why.
        """
        from airflow_provider_achieveit.api.aio import AsyncAchieveItClient

        async with AsyncAchieveItClient(await self.get_async_config()) as client:
            yield client

    async def get_async_config(self) -> ClientConfig:
        """Return the connection's settings; looking them up does not block the event loop.

        Who asks while the same connection is being looked up gets the same answer: a triggerer answers its triggers one
        by one, with a look into the database between two answers, and thousands of them may start together.

        :raises AchieveItRequestError: they cannot be used; the message says why.
        """
        lookups = _lookups.setdefault(asyncio.get_running_loop(), {})
        which = (type(self), self.achieveit_conn_id)
        lookup = lookups.get(which)
        if lookup is None:
            lookup = lookups[which] = asyncio.create_task(self._look_up_config())
            lookup.add_done_callback(lambda _: lookups.pop(which))
        # One who asked may be cancelled; the others still wait for the answer.
        return await asyncio.shield(lookup)

    async def _look_up_config(self) -> ClientConfig:
        with self._settings_told():
            return await self._read_config_async()

    @contextmanager
    def _settings_told(self) -> Iterator[None]:
        """Turn what is wrong with the settings into its typed error, for a block that calls what sees the key."""
        with cleared_frames():
            try:
                yield
            except ValueError as error:
                raise AchieveItRequestError(f"Connection {self.achieveit_conn_id!r}: {error}") from None

    def _read_config(self) -> ClientConfig:
        connection = self._connection()
        config = _config(connection, connection.extra_dejson)
        # Not every Airflow masks the password of a connection that comes from the environment.
        mask_secret(config.api_key)
        return config

    async def _read_config_async(self) -> ClientConfig:
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        connection = _readable(await get_async_connection(self.achieveit_conn_id, self))
        return _config(connection, await get_async_extra_dejson(connection))

    def _connection(self) -> Any:
        try:
            return _readable(self.get_connection(self.achieveit_conn_id))
        except AirflowNotFoundException as error:
            raise AchieveItRequestError(
                f"There is no connection {self.achieveit_conn_id!r}: make one of type achieveit ({error})"
            ) from None

    def get_plan_id(self) -> str:
        """Return the plan that the connection's extra field ``plan_id`` names; empty: none."""
        with self._settings_told():
            return str(self._connection().extra_dejson.get("plan_id") or "").strip()

    def plan_url(self, plan_id: str) -> str | None:
        """Return the address of a plan in AchieveIt's web application, None where the connection has no ``web_url``.

        :param plan_id: the plan.
        :raises AchieveItRequestError: there is no such connection, or its ``web_url`` is no template of an address.
        """
        from airflow_provider_achieveit.hooks.connection import plan_url

        with self._settings_told():
            return plan_url(self._connection().extra_dejson, plan_id)

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
        self, plan_id: str, *, page_size: int = MAX_TAKE, sort_key: str = "sequenceId", parallel_pages: int = 4
    ) -> Iterator[dict[str, Any]]:
        """Give a plan's items as the API has them now, in its order; numbers with a point are exact decimals.

        The items flow while pages are read, so a plan of any size needs the memory of a few pages. The price: whether
        the pages fit together is known after the last. If the plan changed meanwhile, the iterator ends with an error,
        and nothing it gave should be kept. So act on the items after the loop, or use :meth:`get_plan_df`, which reads
        again. Leave the loop whenever you like; what was given until then is not checked to the end.
        See "Exporting Plan Items" in the help centre.

        :param plan_id: the plan.
        :param page_size: items in a request, 1 to 1500 (default).
        :param sort_key: the API's sort key, default ``sequenceId``.
        :param parallel_pages: pages requested at the same time, and held in memory at most, default 4.
        :raises AchieveItInconsistentExportError: the plan changed while it was read; worth a retry.
        :raises AchieveItForbiddenError: this key's user may not see the plan.
        :raises AchieveItError: another of the typed errors.
        :raises ValueError: a setting that no read can use.
        """
        from airflow_provider_achieveit.api.paging import read_plan_once

        paging: dict[str, Any] = {"page_size": page_size, "sort_key": sort_key, "parallel_pages": parallel_pages}
        with typed_errors(), self.get_conn() as client:
            for page in read_plan_once(client, plan_id, **paging):
                yield from page.items

    def get_plan_df(
        self,
        plan_id: str,
        *,
        page_size: int = MAX_TAKE,
        sort_key: str = "sequenceId",
        parallel_pages: int = 4,
        max_reads: int = 3,
    ) -> pd.DataFrame:
        """Return a plan's items as a DataFrame of objects, one row an item, columns named as in the API.

        Values are what the API sent (None for null, exact decimals, lists for lists): no column is converted, so
        neither a null nor a big integer changes. A plan without items gives a frame without columns.

        :param plan_id: the plan.
        :param page_size: items in a request, 1 to 1500 (default).
        :param sort_key: the API's sort key, default ``sequenceId``.
        :param parallel_pages: pages requested at the same time, default 4.
        :param max_reads: how often to read the plan if it changes between its pages, default 3.
        :raises AchieveItInconsistentExportError: the plan kept changing while it was read; worth a retry.
        :raises AchieveItForbiddenError: this key's user may not see the plan.
        :raises AchieveItError: another of the typed errors.
        :raises ValueError: a setting that no read can use.
        :raises ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("get_plan_df needs pandas; install airflow-provider-achieveit[pandas]") from error

        from airflow_provider_achieveit.api.paging import read_plan

        items: list[dict[str, Any]] = []
        with typed_errors(), self.get_conn() as client:
            read_plan(
                partial(client.fetch_plan_page, plan_id),
                plan_id=plan_id,
                on_page=items.extend,
                on_restart=lambda _: items.clear(),
                page_size=page_size,
                sort_key=sort_key,
                parallel_pages=parallel_pages,
                max_reads=max_reads,
            )
        names = dict.fromkeys(name for item in items for name in item)
        return pd.DataFrame(
            {name: pd.Series([item.get(name) for item in items], dtype=object) for name in names}, dtype=object
        )

    def test_connection(self) -> tuple[bool, str]:
        """Tell what was proved and what not: reachable, key accepted, plan readable. Read-only, without repeats.

        Only reading a plan proves that the key is accepted, so the connection's extra field ``plan_id`` should name
        one.

        :return: whether nothing is wrong, and the words for the form.
        """
        from airflow_provider_achieveit.api.check import PATIENCE, check
        from airflow_provider_achieveit.api.client import AchieveItClient
        from airflow_provider_achieveit.hooks.connection import plan_url

        try:
            connection = self._connection()
            extra = connection.extra_dejson
            config = _config(connection, extra)
            plan_url(extra, "any")
            mask_secret(config.api_key)
            config = replace(config, max_retries=0, timeout=min(config.timeout, PATIENCE))
            with AchieveItClient(config) as client:
                return check(client, str(extra.get("plan_id") or "").strip())
        except (ValueError, AchieveItError) as error:
            return False, f"Nothing was tested: {error}"
        except Exception as error:  # the form shows what it is told; a traceback would help nobody there
            return False, f"{type(error).__name__}: {error}"


def _readable(connection: Any) -> Any:
    """Return a connection whose extra can be read: of another Airflow only logs, with the connection beside it."""
    from airflow_provider_achieveit.hooks.connection import check_extra

    check_extra(connection.extra)
    return connection


def _config(connection: Any, extra: dict[str, Any]) -> ClientConfig:
    from airflow_provider_achieveit.hooks.connection import client_config

    return client_config(host=connection.host, port=connection.port, password=connection.password, extra=extra)
