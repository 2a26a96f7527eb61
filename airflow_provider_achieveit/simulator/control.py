"""What only the simulator has: its own addresses below ``/_simulator/``, without a key, all in JSON.

========================================  ==============================================================================
``GET, PUT, POST, DELETE faults``         list the fault rules; replace them all; add one; take all away. A rule has the
                                          fields of :class:`.faults.Fault`:
                                          ``{"kind": "status", "path": "/status/", "status": 429, "times": 2,
                                          "headers": {"Retry-After": "1"}}``
``GET, PATCH settings``                   the fields of :class:`.settings.Settings`: ``{"job_id_form": "text"}``
``GET, PUT users``                        ``{"<key>": {"name": "Ann", "plans": ["<plan id>"]}}``; plans null: all
``GET plans``                             all plans
``GET, PUT, DELETE plans/<id>``           a plan with external ids and histories. PUT makes one:
                                          ``{"name": "Mine", "items": [{"externalId": "kpi-1", "name": "Revenue",
                                          "hasMetric": true}]}`` or ``{"generate": 3210, "seed": 7}``
``POST plans/<id>/mutate``                ``{"changes": ["insert", "delete", "move", "edit"], "seed": 1}``
``GET jobs``, ``GET batches``             the queue, and every batch as it came (text, or base64 if it is none)
``GET, DELETE log``                       all requests with their answers' codes, without keys
``POST reset``                            everything as it was at the start, without faults
========================================  ==============================================================================
"""

import base64
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import JSONResponse

from airflow_provider_achieveit.simulator.faults import fault_from_json
from airflow_provider_achieveit.simulator.gate import CONTROL_PREFIX
from airflow_provider_achieveit.simulator.seed_data import custom_plan, mutate
from airflow_provider_achieveit.simulator.settings import settings_from_json
from airflow_provider_achieveit.simulator.world import Batch, Plan, users_from_json

if TYPE_CHECKING:
    from airflow_provider_achieveit.simulator.app import Simulator

_PREFIX = CONTROL_PREFIX + "/"
_Json = Annotated[Any, Body()]


def add_routes(app: FastAPI, simulator: "Simulator") -> None:
    """Add the addresses of this module to the application.

    :param app: the application.
    :param simulator: what they show and change.
    """
    _add_faults(app, simulator)
    _add_settings(app, simulator)
    _add_plans(app, simulator)
    _add_received(app, simulator)


def _route(app: FastAPI, method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # Not AchieveIt's, so not in its OpenAPI page; plain values go out as JSON as they are.
    return app.api_route(_PREFIX + path, methods=[method], include_in_schema=False, response_class=JSONResponse)


def _checked(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, TypeError, AttributeError) as error:
        raise HTTPException(400, str(error)) from error


def _add_faults(app: FastAPI, simulator: "Simulator") -> None:
    faults = simulator.faults

    @_route(app, "GET", "faults")
    async def show() -> Any:
        return faults.to_json()

    @_route(app, "PUT", "faults")
    async def replace(rules: _Json) -> Any:
        faults.replace(_checked(lambda: [fault_from_json(rule) for rule in rules]))
        return faults.to_json()

    @_route(app, "POST", "faults")
    async def add(rule: _Json) -> Any:
        faults.rules.append(_checked(lambda: fault_from_json(rule)))
        return faults.to_json()

    @_route(app, "DELETE", "faults")
    async def clear() -> Any:
        faults.clear()
        return []


def _add_settings(app: FastAPI, simulator: "Simulator") -> None:
    world = simulator.world

    @_route(app, "GET", "settings")
    async def show() -> Any:
        return asdict(world.settings)

    @_route(app, "PATCH", "settings")
    async def change(changes: _Json) -> Any:
        world.settings = _checked(lambda: settings_from_json(changes, world.settings))
        simulator.save()
        return asdict(world.settings)

    @_route(app, "GET", "users")
    async def users() -> Any:
        return {key: asdict(user) for key, user in world.users.items()}

    @_route(app, "PUT", "users")
    async def replace_users(given: _Json) -> Any:
        world.users = _checked(lambda: users_from_json(given))
        simulator.save()
        return {key: asdict(user) for key, user in world.users.items()}


def _add_plans(app: FastAPI, simulator: "Simulator") -> None:
    world = simulator.world

    def plan_or_404(plan_id: str) -> Plan:
        if plan_id not in world.plans:
            raise HTTPException(404, f"There is no plan {plan_id!r}; GET {_PREFIX}plans lists them.")
        return world.plans[plan_id]

    @_route(app, "GET", "plans")
    async def show() -> Any:
        return [{"id": plan.id, "name": plan.name, "items": len(plan.items)} for plan in world.plans.values()]

    @_route(app, "GET", "plans/{plan_id}")
    async def plan(plan_id: str) -> Any:
        return asdict(plan_or_404(plan_id))

    @_route(app, "PUT", "plans/{plan_id}")
    async def put(plan_id: str, described: _Json) -> Any:
        new = _checked(lambda: custom_plan(plan_id, described))
        with world.lock:
            world.plans[plan_id] = new
        simulator.save()
        return {"id": new.id, "name": new.name, "items": len(new.items)}

    @_route(app, "DELETE", "plans/{plan_id}")
    async def delete(plan_id: str) -> Any:
        with world.lock:
            del world.plans[plan_or_404(plan_id).id]
        simulator.save()
        return {}

    @_route(app, "POST", "plans/{plan_id}/mutate")
    async def change(plan_id: str, how: _Json) -> Any:
        target = plan_or_404(plan_id)
        with world.lock:
            _checked(lambda: mutate(target, how.get("changes", ["insert"]), seed=how.get("seed", 0)))
        simulator.save()
        return {"id": target.id, "name": target.name, "items": len(target.items)}


def _add_received(app: FastAPI, simulator: "Simulator") -> None:
    world = simulator.world

    @_route(app, "GET", "jobs")
    async def jobs() -> Any:
        return [asdict(job) for job in world.jobs.values()]

    @_route(app, "GET", "batches")
    async def batches() -> Any:
        return [_batch_json(batch) for batch in world.batches]

    @_route(app, "GET", "log")
    async def log() -> Any:
        return [asdict(request) for request in world.requests]

    @_route(app, "DELETE", "log")
    async def clear_log() -> Any:
        world.requests.clear()
        return []

    @_route(app, "POST", "reset")
    async def reset() -> Any:
        simulator.faults.clear()
        world.restore(simulator.initial)
        simulator.save()
        return {}


def _batch_json(batch: Batch) -> dict[str, Any]:
    try:
        body = {"text": batch.body.decode("utf-8")}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(batch.body).decode()}
    return asdict(batch) | {"body": body}
