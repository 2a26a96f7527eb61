"""The addresses of AchieveIt, as its documents tell them.

Paths come from :mod:`airflow_provider_achieveit.api.contract`, the one module that knows them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import APIKeyHeader

from airflow_provider_achieveit.api.contract import (
    AUTHORIZATION,
    MAX_TAKE,
    SORT_KEYS,
    UpdateKind,
    authorization,
    job_status_request,
    plan_page_request,
    submit_request,
)
from airflow_provider_achieveit.simulator import control, page
from airflow_provider_achieveit.simulator.export import page as export_page
from airflow_provider_achieveit.simulator.faults import Faults
from airflow_provider_achieveit.simulator.gate import App, Gate
from airflow_provider_achieveit.simulator.world import JOB_HTTP_STATUS, Job, JobState, User, World

_JOB_ID_FORMS: dict[str, Callable[[str], tuple[str, str]]] = {
    "text": lambda job_id: ("text/plain", job_id),
    "json_string": lambda job_id: ("application/json", json.dumps(job_id)),
    "jobId": lambda job_id: ("application/json", json.dumps({"jobId": job_id})),
    "id": lambda job_id: ("application/json", json.dumps({"id": job_id})),
    "jobID": lambda job_id: ("application/json", json.dumps({"jobID": job_id})),
    "job_id": lambda job_id: ("application/json", json.dumps({"job_id": job_id})),
    "none": lambda _: ("text/plain", ""),
}
_STATUS_BODIES: dict[str, Callable[[Job], Response]] = {
    "text": lambda job: PlainTextResponse(job.reason or job.state.value, JOB_HTTP_STATUS[job.state]),
    "json": lambda job: JSONResponse({"status": job.state.value, "message": job.reason}, JOB_HTTP_STATUS[job.state]),
    "empty": lambda job: Response(status_code=JOB_HTTP_STATUS[job.state]),
}
_SUMMARY = {UpdateKind.PROGRESS: "progress updates", UpdateKind.METRIC: "metric updates"}
_SORT_KEYS: dict[str, Any] = {"enum": sorted(SORT_KEYS)}


def now() -> str:
    """Return the present as ISO text in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Simulator:
    """The application: routes, the queue's worker, and what is kept in the state file.

    :param world: the state.
    :param faults: the fault rules.
    :param save: called after every change that must survive a restart.
    :param initial: the state, as JSON values, that a reset goes back to.
    """

    def __init__(self, world: World, faults: Faults, save: Callable[[], None], initial: dict[str, Any]) -> None:
        self.world, self.faults, self.save, self.initial = world, faults, save, initial
        self.queue: asyncio.Queue[str] | None = None

    def app(self) -> App:
        """Return the ASGI application."""
        app = FastAPI(
            title="AchieveIt (simulator)",
            description="A local AchieveIt that keeps the contract of the public documents.",
            version="1",
            openapi_url="/swagger/v1/swagger.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=self._lifespan,
        )
        app.add_exception_handler(RequestValidationError, _bad_request)
        for kind in UpdateKind:
            self._add_updates(app, kind)
        self._add_exports(app)
        control.add_routes(app, self)
        self._add_pages(app)
        return Gate(app, self.world, self.faults)

    # --- Submitting updates -------------------------------------------------------------------------------------------

    def _add_updates(self, app: FastAPI, kind: UpdateKind) -> None:
        submit_path = submit_request(kind, "x.csv", b"").path.removesuffix("x.csv") + "{filename}"
        status_path = job_status_request(kind, "x").path.removesuffix("x") + "{job_id}"
        about = _SUMMARY[kind]

        @app.post(submit_path, tags=["Updates"], summary=f"Queue a file of {about}", name=f"submit_{kind}")
        async def submit(filename: str, request: Request, user: Annotated[User, Depends(self._user)]) -> Response:
            job = self.world.submit(
                kind,
                filename,
                request.headers.get("content-type", ""),
                await request.body(),
                user=user,
                now=now(),
                fail=bool(request.scope.get("simulator.fail_job")),
            )
            self.save()
            assert self.queue is not None
            self.queue.put_nowait(job.job_id)
            media_type, body = _JOB_ID_FORMS[self.world.settings.job_id_form](job.job_id)
            return Response(body, media_type=media_type)

        @app.get(status_path, tags=["Updates"], summary=f"State of a job of {about}", name=f"status_{kind}")
        async def status(job_id: str, user: Annotated[User, Depends(self._user)]) -> Response:
            job = self.world.jobs.get(job_id)
            if job is None or job.kind is not kind:
                raise HTTPException(404, "There is no such job.")
            return _STATUS_BODIES[self.world.settings.status_body](job)

    async def _work(self) -> None:
        """Process the queue in its order, one job at a time."""
        assert self.queue is not None
        while True:
            job = self.world.jobs.get(await self.queue.get())
            if job is None or job.done:
                continue  # taken away by a reset
            job.state = JobState.PROCESSING
            await asyncio.sleep(self.world.settings.job_seconds)
            self._finish(job)

    def _finish(self, job: Job) -> None:
        try:
            self.world.process(job, now=now())
        except Exception as error:  # as in any service, its own failure is the job's 500
            job.state, job.reason = JobState.FAILED, f"The simulator failed: {error!r}"
        self.save()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.queue = asyncio.Queue()
        for job in self.world.jobs.values():  # from the state file
            if not job.done:
                self.queue.put_nowait(job.job_id)
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker

    # --- Exporting plan items -----------------------------------------------------------------------------------------

    def _add_exports(self, app: FastAPI) -> None:
        for address, legacy in (("new", False), ("legacy", True)):
            path = plan_page_request("x", skip=0, take=1, sort_key="name", legacy=legacy).path
            self._add_export(app, address, path.replace("/x", "/{plan_id}"))

    def _add_export(self, app: FastAPI, address: str, path: str) -> None:
        older = " (address of older tenants)" if address == "legacy" else ""

        @app.get(path, tags=["Exports"], summary=f"A plan's items{older}", name=f"export_{address}")
        async def export(
            plan_id: str,
            user: Annotated[User, Depends(self._user)],
            skip: Annotated[int, Query(ge=0)] = 0,
            take: Annotated[int, Query(ge=1, json_schema_extra={"maximum": MAX_TAKE})] = 100,
            sort_key: Annotated[str, Query(alias="sortKey", json_schema_extra=_SORT_KEYS)] = "sequenceId",
            sort_direction: Annotated[Literal["asc", "desc"], Query(alias="sortDirection")] = "asc",
        ) -> Response:
            settings = self.world.settings
            if address not in settings.export_addresses:
                raise HTTPException(404, "This tenant does not have this address.")
            plan = self.world.plans.get(plan_id)
            if plan is None:
                raise HTTPException(settings.unknown_plan_status, "There is no such plan, or you may not see it.")
            if user.plans is not None and plan_id not in user.plans:
                raise HTTPException(403, "You may not see this plan.")
            if take > MAX_TAKE and settings.take_over_maximum == "refuse":
                return PlainTextResponse(f"take: at most {MAX_TAKE}", 400)
            if take > MAX_TAKE and settings.take_over_maximum == "cut":
                take = MAX_TAKE
            if sort_key not in SORT_KEYS - set(settings.unknown_sort_keys):
                if settings.unknown_sort_key == "refuse":
                    return PlainTextResponse("sortKey: there is no such sort key", 400)
                sort_key = "sequenceId"
            with self.world.lock:
                body = export_page(plan, skip=skip, take=take, sort_key=sort_key, descending=sort_direction == "desc")
            return JSONResponse(body)

    # --- All ----------------------------------------------------------------------------------------------------------

    async def _user(
        self, value: Annotated[str | None, Depends(APIKeyHeader(name=AUTHORIZATION, auto_error=False))]
    ) -> User:
        for key, user in self.world.users.items():
            if value == authorization(key):
                return user
        status = self.world.settings.refused_key_status
        raise HTTPException(status, f"The header must be '{AUTHORIZATION}: {authorization('<a valid key>')}'.")

    def _add_pages(self, app: FastAPI) -> None:
        hidden: dict[str, Any] = {"include_in_schema": False, "response_class": HTMLResponse}

        @app.get("/", **hidden)
        async def overview() -> str:
            with self.world.lock:
                return page.overview(self.world)

        @app.get("/swagger", **hidden)
        @app.get("/swagger/", **hidden)
        async def swagger() -> str:
            return page.swagger(app.openapi())


async def _bad_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{entry['loc'][-1]}: {entry['msg']}" for entry in error.errors())
    return PlainTextResponse(told, 400)
