"""The pages for people: what is in the simulator, and its OpenAPI description.

Plain HTML that needs neither network nor script. Everything that came from outside is escaped.
"""

from __future__ import annotations

from decimal import Decimal
from html import escape
from typing import Any

from airflow_provider_achieveit.simulator.style import CSS
from airflow_provider_achieveit.simulator.world import Batch, Item, Job, JobState, Plan, World

_MOST_ITEMS, _MOST_JOBS, _MOST_BATCHES = 300, 50, 20
_MOST_LINES, _MOST_CHARS = 6, 160

_NUMBER_COLUMNS = ("Current", "Target", "Updates")

_STATUS_TONES = {
    "On Track": "good",
    "Achieved": "good",
    "At Risk": "warn",
    "Off Track": "bad",
    "Not Achieved": "bad",
    "Canceled": "idle",
    "Not Started": "idle",
}
_JOB_TONES = {
    JobState.RECEIVED: "idle",
    JobState.PROCESSING: "warn",
    JobState.PROCESSED: "good",
    JobState.REFUSED: "bad",
    JobState.FAILED: "bad",
}


def overview(world: World) -> str:
    """Return the page at ``/``: plans with their items, jobs, and received batches.

    :param world: the state; the newest jobs and batches come first.
    """
    jobs, batches = list(world.jobs.values())[::-1], world.batches[::-1]
    refused = sum(job.state in (JobState.REFUSED, JobState.FAILED) for job in jobs)
    figures = [
        (len(world.plans), "plans"),
        (sum(len(plan.items) for plan in world.plans.values()), "items"),
        (len(jobs), "jobs"),
        (refused, "refused or failed"),
        (sum(job.rows for job in jobs), "updates applied"),
    ]
    tiles = "".join(f"<div class=tile><b>{number:,}</b><span>{escape(what)}</span></div>" for number, what in figures)
    body = (
        f"<div class=tiles>{tiles}</div>"
        + _jobs(jobs, batches)
        + "".join(_plan(plan) for plan in world.plans.values())
        + _batches(batches)
    )
    nav = '<a href="/swagger/">API</a><a href="/_simulator/log">Requests</a><a href="/_simulator/faults">Faults</a>'
    return _document("AchieveIt simulator", nav, body)


def _document(title: str, nav: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><nav>{nav}</nav></header><main>{body}</main></body></html>"
    )


# --- Plans ------------------------------------------------------------------------------------------------------------


def _plan(plan: Plan) -> str:
    rows = "".join(_item_row(item) for item in plan.items[:_MOST_ITEMS])
    head = _head("#", "Item", "External id", "Status", "Current", "Target", "Updates", "Last update")
    return (
        f"<section><h2>{escape(plan.name)}</h2>"
        f"<p class=note>Plan id <code>{escape(plan.id)}</code> · {len(plan.items):,} items"
        f"{_more(len(plan.items), _MOST_ITEMS)}</p>"
        f"<div class=scroll><table>{head}<tbody>{rows}</tbody></table></div></section>"
    )


def _item_row(item: Item) -> str:
    fields = item.fields
    status = str(fields.get("statusName") or "")
    comment = str(fields.get("lastUpdateComment") or "")
    shown_comment = f"<small>{escape(_shortened(comment))}</small>" if comment else ""
    day = str(fields.get("lastUpdated") or "")[:10] if item.history else ""
    return (
        f"<tr class=depth{min(item.depth, 3)}>"
        f"<td class=faint>{escape(str(fields.get('sequenceId', '')))}</td>"
        f"<td class=name>{escape(str(fields.get('name', '')))}</td>"
        f"<td><code>{escape(item.external_id)}</code></td>"
        f"<td>{_badge(status, _STATUS_TONES.get(status, 'own'))}</td>"
        f"<td class=number>{_number(fields.get('currentValue'))}{_progress(fields)}</td>"
        f"<td class=number>{_number(fields.get('target'))}</td>"
        f"<td class=number>{len(item.history) or ''}</td>"
        f"<td class=when>{escape(day)}{shown_comment}</td></tr>"
    )


def _progress(fields: dict[str, Any]) -> str:
    try:
        baseline, target, current = (Decimal(fields[name]) for name in ("baseline", "target", "currentValue"))
        share = (current - baseline) / (target - baseline)
        percent = int(min(max(share, Decimal(0)), Decimal(1)) * 100)
    except (KeyError, TypeError, ArithmeticError):
        return ""  # no metric, or nothing to measure it by
    return f'<div class=bar title="{percent} %"><i style="width:{percent}%"></i></div>'


def _number(value: object) -> str:
    try:
        return f"{Decimal(str(value)):,f}"
    except ArithmeticError:
        return escape(str(value or ""))


# --- Jobs and batches -------------------------------------------------------------------------------------------------


def _jobs(jobs: list[Job], batches: list[Batch]) -> str:
    if not jobs:
        example = escape("POST /api/progressupdates/<filename>")
        return f"<section><h2>Jobs</h2><p class=note>None yet. A batch comes by <code>{example}</code>.</p></section>"
    rows = "".join(_job_row(job) for job in jobs[:_MOST_JOBS])
    head = _head("State", "File", "Kind", "Received", "Updates", "Job id and reason")
    return (
        f"<section><h2>Jobs</h2><p class=note>{len(jobs):,} jobs, {len(batches):,} batches, newest first"
        f"{_more(len(jobs), _MOST_JOBS)}</p>"
        f"<div class=scroll><table>{head}<tbody>{rows}</tbody></table></div></section>"
    )


def _job_row(job: Job) -> str:
    lines = job.reason.splitlines()
    more = f"<li>… and {len(lines) - _MOST_LINES:,} more</li>" if len(lines) > _MOST_LINES else ""
    reasons = "".join(f"<li>{escape(_shortened(line))}</li>" for line in lines[:_MOST_LINES])
    return (
        f"<tr><td>{_badge(job.state.value, _JOB_TONES[job.state])}</td>"
        f"<td class=file>{escape(job.filename)}</td><td>{escape(job.kind.value)}</td>"
        f"<td class=when>{escape(job.received_at[:19].replace('T', ' '))}</td>"
        f"<td class=number>{job.rows:,}</td>"
        f"<td><code>{escape(job.job_id)}</code>{f'<ul>{reasons}{more}</ul>' if reasons else ''}</td></tr>"
    )


def _batches(batches: list[Batch]) -> str:
    if not batches:
        return ""
    shown = "".join(_batch(batch) for batch in batches[:_MOST_BATCHES])
    return (
        f"<section><h2>Received batches</h2><p class=note>First lines of each, newest first"
        f"{_more(len(batches), _MOST_BATCHES)}</p>{shown}</section>"
    )


def _batch(batch: Batch) -> str:
    # A line of JSON may hold the whole batch: only its beginning is decoded.
    lines = batch.body[: 4 * _MOST_LINES * _MOST_CHARS].decode("utf-8", "replace").splitlines()
    first = "\n".join(_shortened(line) for line in lines[:_MOST_LINES])
    return (
        f"<details open><summary><b>{escape(batch.filename)}</b> "
        f"<span class=faint>{escape(batch.kind.value)} · {escape(batch.content_type or 'no content type')} · "
        f"{len(batch.body):,} bytes</span></summary><pre>{escape(first)}</pre></details>"
    )


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


def swagger(openapi: dict[str, Any]) -> str:
    """Return the page at ``/swagger/``: every address with its parameters.

    :param openapi: the OpenAPI document.
    """
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    note = (
        "<p class=note>Every request carries <code>Authorization: API-KEY &lt;key&gt;</code>. Machines read "
        '<a href="/swagger/v1/swagger.json">swagger.json</a>.</p>'
    )
    return _document(f"{openapi['info']['title']}: API", '<a href="/">Overview</a>', note + operations)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(_parameter_row(parameter) for parameter in operation.get("parameters", []))
    head = _head("Parameter", "In", "Type", "Default", "Maximum")
    return (
        f"<section><h2>{_badge(method.upper(), 'own')} <code>{escape(path)}</code></h2>"
        f"<p class=note>{escape(operation.get('summary', ''))}</p>"
        f"<div class=scroll><table>{head}<tbody>{rows}</tbody></table></div></section>"
    )


def _parameter_row(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    kind = " | ".join(schema["enum"]) if "enum" in schema else schema.get("type", "text")
    cells = (parameter["name"], parameter["in"], kind, schema.get("default", ""), schema.get("maximum", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"


# --- Pieces -----------------------------------------------------------------------------------------------------------


def _head(*labels: str) -> str:
    return (
        "<thead><tr>"
        + "".join(f"<th{' class=number' if label in _NUMBER_COLUMNS else ''}>{escape(label)}</th>" for label in labels)
        + "</tr></thead>"
    )


def _badge(text: str, tone: str) -> str:
    return f'<span class="badge {tone}">{escape(text)}</span>'


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"


def _more(count: int, most: int) -> str:
    return f" · the first {most} are shown" if count > most else ""
