"""Plans to begin with: one that a person knows at once, and generated ones of any size.

Everything is made from a seed: the same seed gives the same plan, to the last id.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

from airflow_provider_achieveit.api.contract import STATUSES
from airflow_provider_achieveit.simulator.demo_strategy import CURRENCY, NUMBER, PERCENT, STRATEGY
from airflow_provider_achieveit.simulator.options import DEFAULT_API_KEY
from airflow_provider_achieveit.simulator.world import Item, Plan, User, World

DEMO_PLAN_ID = "a0e2ce03-8d0e-4325-9a13-17a8b5936591"
ORGANIZATION_ID = "5f0c61f2-6d6c-4a53-8c57-0b1d3a9d2f10"
CHANGES = ("insert", "delete", "move", "edit")
"""What :func:`mutate` can do to a plan."""
LEVELS = ("Goal", "Objective", "Key Result", "Action")

_OWNERS = (
    "Amara Okafor",
    "Bjørn Lindqvist",
    "Chloé Martin",
    "Diego Fernández",
    "Priya Nair",
    "Sam O'Neill",
    "Yuki Tanaka",
)
_TAGS = ("Board", "Regulatory", "R&D", "Patient First", "Quick Win")
_FREQUENCIES = ("Monthly", "Weekly", "Quarterly", "Biweekly", "Daily", "NotRequired")


def demo_world(api_key: str = DEFAULT_API_KEY) -> World:
    """Return a world with the demo plan and one user who may see everything.

    :param api_key: the key of that user (default :data:`~.options.DEFAULT_API_KEY`).
    """
    return World([demo_plan()], {api_key: User("API Account")})


def demo_plan() -> Plan:
    """Return the strategic plan of a health system: goals, objectives, 33 key results with metrics, and actions.

    The key results have readable external ids (``fin-margin``), all other items have GUIDs.
    """
    rng = random.Random(2025)  # noqa: S311 - reproducible, not secret
    plan = Plan(DEMO_PLAN_ID, "Northbridge Health & Care: Strategic Plan 2025-2027")
    for g, (goal, objectives) in enumerate(STRATEGY.items(), start=1):
        _demo_item(rng, plan, f"{g}", goal)
        for o, (objective, (key_results, actions)) in enumerate(objectives.items(), start=1):
            _demo_item(rng, plan, f"{g}.{o}", objective)
            for k, (external_id, name, units, baseline, target) in enumerate(key_results, start=1):
                item = _demo_item(rng, plan, f"{g}.{o}.{k}", name, LEVELS[2])
                item.external_id = external_id
                item.fields |= {
                    "hasMetric": True,
                    "units": units,
                    "detail": 2 if units == CURRENCY else 0,
                    "baseline": baseline,
                    "target": target,
                    "currentValue": baseline,
                }
                if rng.random() < 0.4:
                    _add_goals(rng, item, float(baseline), float(target))
            for a, name in enumerate(actions, start=len(key_results) + 1):
                item = _demo_item(rng, plan, f"{g}.{o}.{a}", name, LEVELS[3])
                item.fields["checklists"] = [_checklist(rng, "Steps", ("Plan", "Staff & fund", "Run", "Review"))]
    plan.renumber()
    return plan


def _demo_item(rng: random.Random, plan: Plan, sequence_id: str, name: str, level: str | None = None) -> Item:
    item = new_item(rng, plan, sequence_id, name, level=level)
    owner = rng.choice(_OWNERS)
    _assign(rng, item, owner)
    item.fields |= {
        "tags": [_tag(name) for name in sorted(rng.sample(_TAGS, rng.randint(0, 2)))],
        "description": f"<p>{name.replace('&', '&amp;').replace('<', '&lt;')}: see the <b>plan book</b>.</p>",
        "updateFrequency": "Monthly",
        "updateFrequencyDescription": "Monthly",
    }
    if plan.items and rng.random() < 0.3:
        item.fields["alignsTo"] = plan.items[0].fields["name"]
        item.fields["alignsToId"] = plan.items[0].fields["id"]
    plan.items.append(item)
    return item


def generated_plan(count: int, *, seed: int = 0, plan_id: str | None = None, name: str | None = None) -> Plan:
    """Return a plan of many items with all that the documents allow: empty texts, nulls, unicode, exact decimals.

    :param count: how many items.
    :param seed: the same seed gives the same plan (default 0).
    :param plan_id: the plan's id (default: made from the seed).
    :param name: the plan's name (default: told by count and seed).
    """
    rng = random.Random(f"{seed}/{count}")  # noqa: S311 - reproducible, not secret
    plan = Plan(plan_id or _guid(rng), name or f"Generated plan of {count} items (seed {seed})")
    depth = 0
    for number in range(1, count + 1):
        depth = 0 if number == 1 else rng.choice([depth + 1, depth, depth, max(depth - 1, 0)])
        depth = min(depth, len(LEVELS) - 1)
        adjective, noun = rng.choice(_ADJECTIVES), rng.choice(_NOUNS)
        item = new_item(rng, plan, ".".join(["1"] * (depth + 1)), f"{adjective} {noun} {number}", level=LEVELS[depth])
        _vary(rng, item)
        plan.items.append(item)
    plan.renumber()
    return plan


_ADJECTIVES = ("Safe", "Lean", "R&D", "Größere", "日本", "O'Hara's", '"Bold"', "<Alpha>", "Clean", "Zürich")
_NOUNS = ("growth", "quality", "Ausbildung", "売上", "churn 📉", "profit & loss", "uptime", "café roll-out")
_DECIMALS = ("", "0", "-12.50", "0.2", "9007199254740993", "123456789012.345678", "1000000", "0.000001", "99.90")


def _vary(rng: random.Random, item: Item) -> None:
    fields = item.fields
    if rng.random() < 0.8:
        _assign(rng, item, rng.choice(_OWNERS))
    status = rng.randrange(len(STATUSES))
    frequency = rng.choice(_FREQUENCIES)
    fields |= {
        "status": status,
        "statusName": STATUSES[status],
        "description": rng.choice(["", "<p>Why &amp; how</p>", "<ul><li>one</li>\n<li>two</li></ul>", "plain text"]),
        "start": rng.choice([None, "2025-01-01T00:00:00Z", "2025-07-01T00:00:00"]),
        "due": rng.choice([None, "2026-12-31T00:00:00Z", "2027-06-30T00:00:00+02:00"]),
        "isPastDue": rng.random() < 0.1,
        "lateUpdates": rng.randrange(3),
        "pendingUpdates": rng.randrange(2),
        "files": rng.randrange(4),
        "updateFrequency": frequency,
        "updateFrequencyDescription": frequency,
        "isOrphan": rng.random() < 0.02,
        "tags": [_tag(name) for name in rng.sample(_TAGS, rng.randrange(4))],
        "checklists": [
            _checklist(rng, f"List {n} & more", [f"Step {m}" for m in range(rng.randrange(4))], n)
            for n in range(rng.choice([0, 0, 1, 2]))
        ],
    }
    if rng.random() < 0.6:
        baseline, target, current = (rng.choice(_DECIMALS) for _ in range(3))
        fields |= {
            "hasMetric": True,
            "units": rng.choice([None, NUMBER, PERCENT, CURRENCY]),
            "detail": rng.choice([None, 0, 2]),
            "baseline": baseline,
            "target": target,
            "currentValue": current,
        }
        if rng.random() < 0.3:
            _add_goals(rng, item, 0.0, 1.0)
    if rng.random() < 0.3:
        fields |= {
            "lastCommentId": _guid(rng),
            "lastComment": rng.choice(["Nice!", "See “notes”;\nline two", "50 % done"]),
        }


def new_item(rng: random.Random, plan: Plan, sequence_id: str, name: str, *, level: str | None = None) -> Item:
    """Return an item with every documented field and nothing reported yet; it is not added to the plan.

    :param rng: where its ids come from.
    :param plan: the plan it will belong to.
    :param sequence_id: its place in the outline.
    :param name: its name, not escaped.
    :param level: its level's name (default: by its depth).
    """
    depth = sequence_id.count(".")
    level = level or LEVELS[min(depth, len(LEVELS) - 1)]
    item_id = _guid(rng)
    created = (
        f"2024-11-{rng.randint(1, 30):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:07.{rng.randrange(1000):03}Z"
    )
    fields: dict[str, Any] = {
        "id": item_id,
        "sourceId": item_id,
        "rowNumber": len(plan.items) + 1,
        "sequenceId": sequence_id,
        "planId": plan.id,
        "planName": plan.name,
        "sourcePlanId": None,
        "sourcePlanName": None,
        "alignsTo": None,
        "alignsToId": None,
        "dependentOn": None,
        "dependentOnId": None,
        "levelId": str(uuid.uuid5(uuid.NAMESPACE_OID, level)),
        "level": level,
        "name": name,
        "indentedName": "    " * depth + name,
        "description": "",
        "status": STATUSES.index("Not Started"),
        "statusName": "Not Started",
        "start": "2025-01-01T00:00:00Z",
        "due": "2027-12-31T00:00:00Z",
        "created": created,
        "hasMetric": False,
        "hasAdvancedMetric": False,
        "units": None,
        "detail": None,
        "baseline": "",
        "target": "",
        "currentValue": "",
        "advancedMetricGoals": [],
        "lastUpdated": "2024-12-01T08:00:00Z",
        "assignedToId": None,
        "assignedToFullName": None,
        "assignedById": None,
        "assignedByFullName": None,
        "members": [],
        "admins": [],
        "updateFrequency": "NotRequired",
        "updateFrequencyDescription": "NotRequired",
        "isPastDue": False,
        "lateUpdates": 0,
        "pendingUpdates": 0,
        "updates": 0,
        "lastCommentId": None,
        "lastComment": None,
        "lastUpdateCommentId": None,
        "lastUpdateComment": None,
        "files": 0,
        "checklists": [],
        "tags": [],
        "isOrphan": False,
    }
    return Item(_guid(rng), fields)


def custom_plan(plan_id: str, data: dict[str, Any]) -> Plan:
    """Return a plan that a person described.

    :param plan_id: the plan's id.
    :param data: ``name`` and either ``generate`` (how many items; ``seed``) or ``items``: objects with
        ``externalId`` and any fields of the export. What is left out gets a default; items without ``sequenceId`` are
        numbered one after the other.
    :raises ValueError: something is missing or double.
    """
    name = str(data.get("name", plan_id))
    if "generate" in data:
        count, seed = data["generate"], data.get("seed", 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError("'generate' must be the number of items")
        return generated_plan(count, seed=seed, plan_id=plan_id, name=name)
    items = data.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("a plan needs 'items' (a list of objects) or 'generate' (a number)")
    rng = random.Random(plan_id)  # noqa: S311 - reproducible, not secret
    plan = Plan(plan_id, name)
    for number, described in enumerate(items, start=1):
        fields = dict(described)
        external_id = fields.pop("externalId", None)
        item = new_item(rng, plan, str(fields.get("sequenceId", number)), str(fields.get("name", f"Item {number}")))
        item.fields |= fields
        item.external_id = str(external_id) if external_id is not None else item.external_id
        plan.items.append(item)
    for what in ("id", "externalId"):
        ids = [item.external_id if what == "externalId" else str(item.fields["id"]) for item in plan.items]
        doubled = sorted({entry for entry in ids if ids.count(entry) > 1}) if len(set(ids)) < len(ids) else []
        if doubled:
            raise ValueError(f"two items have the {what} {doubled[0]!r}")
    return plan


def mutate(plan: Plan, changes: Sequence[str], *, seed: int = 0) -> None:
    """Change a plan as busy people would, one change after the other.

    :param plan: a plan with items.
    :param changes: any of :data:`CHANGES`, as often as wanted. An insert comes first in the outline, a delete takes the
        first leaf, and a move takes it to the end, so that every later page shifts.
    :param seed: the same seed gives the same changes (default 0).
    :raises ValueError: no such change.
    """
    rng = random.Random(f"{seed}/{plan.id}/{len(plan.items)}")  # noqa: S311 - reproducible, not secret
    for change in changes:
        if change not in CHANGES:
            raise ValueError(f"unknown change {change!r}; known are {', '.join(CHANGES)}")
        if change == "insert" or not plan.items:
            plan.items.insert(0, _new_to(plan, rng))
        elif change == "edit":
            item = rng.choice(plan.items)
            item.fields["name"] = f"Renamed {rng.randrange(10_000)}"
        else:
            position = next(i for i in range(len(plan.items)) if _is_leaf(plan, i))
            item = plan.items.pop(position)
            if change == "move":
                plan.items.append(item)
        plan.renumber()


def _new_to(plan: Plan, rng: random.Random) -> Item:
    known = {item.fields["id"] for item in plan.items}
    # A plan of a length it had before starts the generator at the same point.
    while (item := new_item(rng, plan, "1", f"Added in between {rng.randrange(10_000)}")).fields["id"] in known:
        pass
    return item


def _is_leaf(plan: Plan, position: int) -> bool:
    after = plan.items[position + 1 : position + 2]
    return not after or after[0].depth <= plan.items[position].depth


# --- Parts of an item -------------------------------------------------------------------------------------------------


def _guid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _person(name: str) -> dict[str, str]:
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)), "name": name, "type": "User"}


def _assign(rng: random.Random, item: Item, owner: str) -> None:
    person, chief = _person(owner), _person(_OWNERS[0])
    team = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, "Strategy & Ops")), "name": "Strategy & Ops", "type": "Team"}
    others = [_person(name) for name in rng.sample(_OWNERS, rng.randrange(3)) if name != owner]
    item.email = owner.lower().replace(" ", ".").replace("'", "") + "@northbridge.example"
    item.fields |= {
        "assignedToId": person["id"],
        "assignedToFullName": owner,
        "assignedById": chief["id"],
        "assignedByFullName": chief["name"],
        "members": [*others, *([team] if rng.random() < 0.3 else [])],
        "admins": [chief],
    }


def _tag(name: str) -> dict[str, str]:
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, "tag " + name)), "organizationId": ORGANIZATION_ID, "name": name}


def _checklist(rng: random.Random, name: str, steps: Sequence[str], index: int = 0) -> dict[str, Any]:
    done = rng.randint(0, len(steps))
    items = [
        {
            "id": _guid(rng),
            "name": step,
            "sortIndex": position,
            "doneOn": f"2024-12-{position + 1:02}T09:30:00Z" if position < done else None,
        }
        for position, step in enumerate(steps)
    ]
    return {"id": _guid(rng), "name": name, "sortIndex": index, "items": items}


def _add_goals(rng: random.Random, item: Item, baseline: float, target: float) -> None:
    buckets = (("Off Track", "#c0392b", 0.0), ("At Risk", "#e5a50a", 0.5), ("On Track", "#2e8b57", 0.9))
    item.fields["hasAdvancedMetric"] = True
    item.fields["advancedMetricGoals"] = [
        {
            "goalId": _guid(rng),
            "goalName": name,
            "goalColor": color,
            "metricBucketValue": round(baseline + (target - baseline) * share, 6),
            "sortOrder": position,
        }
        for position, (name, color, share) in enumerate(buckets)
    ]
