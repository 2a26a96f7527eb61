"""Exports over real HTTP: shape, paging, order, rights."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from airflow_provider_achieveit.api.contract import CHILD_FIELDS, ITEM_FIELDS, SORT_KEYS, FieldType
from airflow_provider_achieveit.simulator.seed_data import DEMO_PLAN_ID, custom_plan, demo_plan, generated_plan, mutate
from airflow_provider_achieveit.simulator.server import RunningSimulator, running
from airflow_provider_achieveit.simulator.settings import Settings
from airflow_provider_achieveit.simulator.world import User, World

BIG = generated_plan(3210, seed=1, plan_id="big")


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningSimulator]:
    users = {"all": User("Ann"), "some": User("Bob", ["big"])}
    with running(world=World([demo_plan(), BIG], users)) as simulator:
        yield simulator


def fits(value, field_type):
    match field_type:
        case FieldType.INTEGER:
            return value is None or type(value) is int
        case FieldType.BOOLEAN:
            return type(value) is bool
        case FieldType.DECIMAL:
            return value == "" or (isinstance(value, str) and Decimal(value).is_finite())
        case _:
            return value is None or isinstance(value, str)


@pytest.mark.parametrize("plan_id", [DEMO_PLAN_ID, "big"])
def test_items_have_the_documents_shape(connect, shared, plan_id):
    items = connect(shared).get(f"/exports/plans/{plan_id}?take=1500").json()["items"]
    for item in items:
        assert item.keys() == ITEM_FIELDS.keys() | CHILD_FIELDS.keys()
        assert [name for name, field_type in ITEM_FIELDS.items() if not fits(item[name], field_type)] == []
        for child, fields in CHILD_FIELDS.items():
            expected = fields.keys() | ({"items"} if child == "checklists" else set())
            assert all(entry.keys() == expected for entry in item[child])
    for child in CHILD_FIELDS:
        assert any(item[child] for item in items), f"no item has {child}"


def test_the_demo_plan_is_worth_looking_at():
    plan = demo_plan()
    assert len(plan.items) >= 40
    assert sum(item.fields["hasMetric"] for item in plan.items) >= 30
    external_ids = [item.external_id for item in plan.items]
    assert len(set(external_ids)) == len(external_ids)
    assert not [entry for entry in external_ids if "," in entry or '"' in entry or "external" in entry.lower()]
    assert plan == demo_plan()


def test_pages_make_the_whole_plan(connect, shared):
    client = connect(shared)
    pages = [client.get(f"/exports/plans/big?skip={skip}&take=1500").json() for skip in (0, 1500, 3000, 4500)]
    assert [len(page["items"]) for page in pages] == [1500, 1500, 210, 0]
    assert {page["totalCount"] for page in pages} == {3210}
    ids = [item["id"] for page in pages for item in page["items"]]
    assert ids == [item.fields["id"] for item in BIG.items]
    assert len(set(ids)) == 3210


def test_the_default_page_has_100_items(connect, shared):
    assert len(connect(shared).get("/exports/plans/big").json()["items"]) == 100


def test_both_addresses_answer_the_same(connect, shared):
    client = connect(shared)
    assert client.get("/plans/big/items?take=7").json() == client.get("/exports/plans/big?take=7").json()


@pytest.mark.parametrize(
    "query",
    [
        "take=1501",
        "take=0",
        "take=-1",
        "take=x",
        "skip=-1",
        "skip=1.5",
        "sortKey=id",
        "sortKey=Name",
        "sortDirection=up",
    ],
)
def test_a_wrong_query_is_400(connect, shared, query):
    answer = connect(shared).get(f"/exports/plans/big?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.text


@pytest.mark.parametrize(("how", "items"), [("cut", 1500), ("allow", 1501)])
def test_a_page_over_the_maximum_is_cut_or_not(simulator, client, how, items):
    simulator.world.plans["big"] = generated_plan(1600, plan_id="big")
    simulator.world.settings.take_over_maximum = how
    assert len(client.get("/exports/plans/big?take=1501").json()["items"]) == items


def test_a_sort_key_may_be_unknown_and_ignored(simulator, client):
    simulator.world.settings.unknown_sort_keys = ("alignsTo",)
    export = f"/exports/plans/{DEMO_PLAN_ID}"
    assert client.get(f"{export}?sortKey=alignsTo").status_code == 400
    simulator.world.settings.unknown_sort_key = "ignore"
    in_order = client.get(export).json()
    assert client.get(f"{export}?sortKey=alignsTo").json() == client.get(f"{export}?sortKey=id").json() == in_order


@pytest.mark.parametrize("sort_key", sorted(SORT_KEYS))
def test_every_sort_key_sorts_and_turns_round(connect, shared, sort_key):
    client = connect(shared)
    up, down = (
        client.get(f"/exports/plans/{DEMO_PLAN_ID}?take=1500&sortKey={sort_key}&sortDirection={direction}").json()[
            "items"
        ]
        for direction in ("asc", "desc")
    )
    assert {item["id"] for item in up} == {item["id"] for item in down} == {i.fields["id"] for i in demo_plan().items}
    if sort_key in up[0] and sort_key in ("status", "updates", "start", "due", "created", "lastUpdated"):
        values = [item[sort_key] for item in up]
        assert values == sorted(values)
        assert [item[sort_key] for item in down] == values[::-1]


def test_outline_numbers_sort_by_number(connect, shared):
    items = [{"sequenceId": text} for text in ("1.10", "1.9", "2", "10", "1", "1.9.1")]
    shared.world.plans["outline"] = custom_plan("outline", {"items": items})
    answer = connect(shared).get("/exports/plans/outline").json()
    assert [item["sequenceId"] for item in answer["items"]] == ["1", "1.9", "1.9.1", "1.10", "2", "10"]


def test_values_sort_by_number(connect, shared):
    items = [{"currentValue": text} for text in ("10", "9", "", "-1.5")]
    shared.world.plans["values"] = custom_plan("values", {"items": items})
    answer = connect(shared).get("/exports/plans/values?sortKey=currentValue").json()
    assert [item["currentValue"] for item in answer["items"]] == ["", "-1.5", "9", "10"]


def test_names_are_escaped_and_descriptions_are_not(connect, shared):
    item = {
        "name": "R&D <b>",
        "description": "<p>a &amp; b</p>",
        "tags": [{"id": "t", "organizationId": "o", "name": "Q&A"}],
    }
    shared.world.plans["escaped"] = custom_plan("escaped", {"items": [item]})
    answer = connect(shared).get("/exports/plans/escaped").json()["items"][0]
    assert answer["name"] == "R&amp;D &lt;b&gt;"
    assert answer["tags"][0]["name"] == "Q&amp;A"
    assert answer["description"] == "<p>a &amp; b</p>"


@pytest.mark.parametrize("path", ["/exports/plans/big", "/plans/big/items", "/api/progressupdates/status/x"])
@pytest.mark.parametrize(
    "header", [None, "", "all", "API-KEY", "API-KEY wrong", "Bearer all", "api-key all", "API-KEY  all"]
)
def test_without_a_valid_key_it_is_401(connect, shared, path, header):
    client = connect(shared)
    del client.headers["Authorization"]
    answer = client.get(path, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401


def test_a_submit_without_a_valid_key_is_401_and_not_queued(connect, shared):
    answer = connect(shared).post("/api/metricupdates/x.csv", data=b"x", headers={"Authorization": "API-KEY no"})
    assert answer.status_code == 401
    assert shared.world.jobs == {}


def test_rights_are_the_users(connect, shared):
    client = connect(shared)
    client.headers["Authorization"] = "API-KEY some"
    assert client.get("/exports/plans/big").status_code == 200
    assert client.get(f"/exports/plans/{DEMO_PLAN_ID}").status_code == 403
    assert client.get("/exports/plans/unknown").status_code == 403


def test_a_user_cannot_update_what_the_user_may_not_see(connect):
    with running(world=World([demo_plan()], {"some": User("Bob", [])})) as simulator:
        client = connect(simulator)
        answer = client.outcome(client.submit("b.csv", "fin-margin,On Track,0.03,2026-01-05\n"))
        assert answer.status_code == 400
        assert "fin-margin" in answer.text


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        (Settings(unknown_plan_status=404), (200, 200, 404)),
        (Settings(export_addresses=("legacy",)), (404, 200, 404)),
        (Settings(export_addresses=("new",)), (200, 404, 403)),
    ],
)
def test_tenants_differ(connect, settings, codes):
    with running(world=World([custom_plan("p", {"items": [{}]})], settings=settings)) as simulator:
        client = connect(simulator)
        paths = ("/exports/plans/p", "/plans/p/items", "/exports/plans/unknown")
        assert tuple(client.get(path).status_code for path in paths) == codes


def test_changes_never_give_an_id_twice() -> None:
    plan = generated_plan(20, seed=3)
    for _ in range(10):
        # The length comes back to where it was; what is deleted is never what was inserted last.
        mutate(plan, ["insert", "move", "delete"])
    ids = [item.fields["id"] for item in plan.items]
    assert len(set(ids)) == len(ids)
