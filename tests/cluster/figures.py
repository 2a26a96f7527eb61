"""What the cluster did at scale, in figures: as Airflow's own task instances and AchieveIt's own log tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.cluster.world import World


@dataclass(frozen=True)
class Figures:
    """What some tasks cost.

    :param scenario: what they did.
    :param tasks: how many they were.
    :param seconds: from the start of the first to the end of the last.
    :param posts: submits that AchieveIt got in that time.
    :param polls: questions after a job.
    :param pages: requests for pages of plans.
    """

    scenario: str
    tasks: int
    seconds: float
    posts: int
    polls: int
    pages: int


def figures(scenario: str, world: World, tasks: Sequence[dict[str, Any]]) -> Figures:
    """Return what task instances cost that were alone in the cluster.

    :param tasks: as Airflow's REST API tells them, all of them ended.
    """
    begin = min(datetime.fromisoformat(task["start_date"]) for task in tasks)
    end = max(datetime.fromisoformat(task["end_date"]) for task in tasks)
    requests = world.achieveit.requests(begin, end)
    return Figures(
        scenario,
        len(tasks),
        round((end - begin).total_seconds(), 1),
        posts=sum(request["method"] == "POST" for request in requests),
        polls=sum("/status/" in request["path"] for request in requests),
        pages=sum("/exports/plans/" in request["path"] for request in requests),
    )
