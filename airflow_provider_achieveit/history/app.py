"""The page's way into Airflow's api-server: who is asking, which DAGs they may read, and where the ledger is.

It rests on "Plugins" and "Auth manager" in Airflow's documentation. Everything is read; nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    conf,
    redact,
)
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from airflow_provider_achieveit.history.filters import Filters
from airflow_provider_achieveit.history.ledger import SECONDS, NoLedger, opened, took_too_long
from airflow_provider_achieveit.history.page import history_page, message_page, security_headers
from airflow_provider_achieveit.history.queries import History, written_dag_ids
from airflow_provider_achieveit.operators.databases import database_hook
from airflow_provider_achieveit.stores.ledger_tables import LedgerError

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""So many looks at the ledger at the same time: a slow database must not take all threads of the api-server."""
_SEAT_SECONDS = 2 * SECONDS
"""How long a person waits for their turn."""
_SETTINGS = """[achieveit]
ledger_conn_id = warehouse
ledger_table = achieveit_submissions"""


@cache
def history_app() -> FastAPI:
    """Return the application that serves the page."""
    app = FastAPI(title="AchieveIt sync history", openapi_url=None)
    seats = asyncio.Semaphore(_AT_ONCE)

    @app.get("/history", response_class=HTMLResponse)
    async def history(request: Request, user: GetUserDep) -> HTMLResponse:
        filters = Filters.from_query(request.query_params)
        try:
            await asyncio.wait_for(seats.acquire(), _SEAT_SECONDS)
        except TimeoutError:
            what = "Others look at the ledger right now, and its database is slow."
            busy = message_page("Please try again", what=what, steps=("Reload the page in a moment.",))
            return HTMLResponse(busy, 503, headers=dict(security_headers()))
        try:
            status, page = await run_in_threadpool(_page, user, filters)
        finally:
            seats.release()
        return HTMLResponse(page, status, headers=dict(security_headers()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 401 and request.headers.get("sec-fetch-dest", "document") == "document":
            # Below whatever path Airflow is served, and whether a proxy takes that path away or not.
            here = f"{request.scope['root_path']}/history?{request.url.query}".removesuffix("?")
            return RedirectResponse(f"../api/v2/auth/login?{urlencode({'next': here})}")
        what = "Your session has ended, or you have not logged in yet."
        page = message_page("Please log in", what=what, steps=("Log in to Airflow, then come back to this page.",))
        return HTMLResponse(page, error.status_code, headers=dict(security_headers()))

    return app


def _page(user: Any, filters: Filters) -> tuple[int, str]:
    """Return the status and the HTML; in a thread, because it waits for databases."""
    readable: set[str] = get_auth_manager().get_authorized_dag_ids(user=user)
    if not readable:
        what = "The history shows the DAGs that you may read in Airflow, and there is none."
        return 403, message_page("No DAG to show", what=what, steps=("Ask who looks after Airflow for a role.",))
    conn_id = conf.get("achieveit", "ledger_conn_id", fallback="")
    table = conf.get("achieveit", "ledger_table", fallback="") or "achieveit_submissions"
    if not conn_id:
        return 200, _no_ledger_configured()
    try:
        return 200, _history(conn_id, table, filters, readable, user)
    except NoLedger:
        return 200, message_page(
            "Nothing was sent yet",
            what=f"The ledger's table {table!r} is not there yet: the first task that writes into it makes it.",
            steps=(f"Give your submit operators ledger_conn_id={conn_id!r} and ledger_table={table!r}.", "Run one."),
        )
    except AirflowNotFoundException:
        what = f"[achieveit] ledger_conn_id names the connection {conn_id!r}, which does not exist."
        return 503, message_page("No such connection", what=what, steps=("Add it, or name another one.",))
    except (LedgerError, AirflowFailException) as error:  # trying again would not help
        return 503, message_page("The ledger cannot be read", what=str(error))
    except (SQLAlchemyError, AirflowException, ImportError) as error:
        return 503, _failed(conn_id, error)


def _history(conn_id: str, table: str, filters: Filters, readable: set[str], user: Any) -> str:
    now = datetime.now(UTC)
    with opened(database_hook(conn_id), table) as (connection, tables):
        dag_ids = {dag_id for dag_id in written_dag_ids(connection, tables) & readable if _may_read_logs(user, dag_id)}
        history = History(connection, tables, filters, dag_ids, now)
        return history_page(history, filters, sorted(dag_ids), now)


def _may_read_logs(user: Any, dag_id: str) -> bool:
    """Tell whether somebody may read what the page shows: rejected values and reasons, as a task's log has them."""
    logs = DagAccessEntity.TASK_LOGS
    may: bool = get_auth_manager().is_authorized_dag(
        method="GET", user=user, access_entity=logs, details=DagDetails(id=dag_id)
    )
    return may


def _no_ledger_configured() -> str:
    return message_page(
        "No ledger is set up",
        what="This page shows what a ledger says: a table in which submit operators write down what they send.",
        steps=(
            "Give your submit operators a ledger_conn_id: any SQL connection of Airflow.",
            "Name the same connection in Airflow's configuration, and restart the api-server:",
        ),
        code=_SETTINGS,
    )


def _failed(conn_id: str, error: Exception) -> str:
    """Return the page for a database that does not do its work; the log says more than a reader may need to know."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    told = " ".join(str(redact(str(cause))).split())
    log.warning(
        "The AchieveIt sync history cannot read the ledger of connection %r: %s: %s", conn_id, _kind(cause), told
    )
    if isinstance(error, DBAPIError) and took_too_long(error):
        return message_page(
            "The ledger answers too slowly",
            what=f"A question to the ledger took more than {SECONDS} seconds and was stopped.",
            steps=("Look at fewer days, or at one DAG.", "Delete old rows of the ledger, or give it an index."),
        )
    return message_page(
        "The ledger does not answer",
        what=f"Connection {conn_id!r} could not be used to read the ledger ({_kind(cause)}).",
        steps=("Try again in a moment.", "If it stays: the log of the api-server says what is wrong."),
    )


def _kind(error: BaseException) -> str:
    return type(error).__name__
