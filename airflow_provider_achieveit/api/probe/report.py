"""What a probe has found, as JSON values and as Markdown. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_achieveit.api.contract import BASE_URLS
from airflow_provider_achieveit.api.probe.questions import Topic, Verdict

_INTRODUCTION = """\
# What an AchieveIt tenant answers

Written by `airflow achieveit probe`, to be attached to a bug report. It has codes, kinds and lengths of values, and
names of fields; no key, host, id, name or text of a plan. Names of fields that the documents do not know are in it
where they look like such: read them before you share it.
"""


@dataclass(slots=True)
class Finding:
    """What was found about a topic.

    :param verdict: how it stands to what the provider is made for.
    :param seen: what was seen, or why nothing was, in words that may be told.
    :param answers: all that may be told of the answers.
    """

    verdict: Verdict
    seen: str
    answers: list[dict[str, Any]] = field(default_factory=list)


def finding_told(topic: Topic, finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values."""
    return {
        "question": topic.name,
        "verdict": finding.verdict.value,
        "seen": finding.seen,
        "asked": topic.asked,
        "provider": topic.provider,
        "answers": finding.answers,
    }


def environment_of(base_url: str) -> str:
    """Return which of the documented servers this is, or ``other``."""
    known = {urlsplit(url).hostname: environment for environment, url in BASE_URLS.items()}
    return known.get(urlsplit(base_url).hostname, "other")


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fits on a terminal: the verdicts, and the fields that are not as expected."""
    values = {name: value for name, value in document.items() if not isinstance(value, list)}
    questions = [_part(question, ("question", "verdict", "seen")) for question in document["questions"]]
    return {**values, "questions": questions, "fields": _other_fields(document)}


def markdown(document: Mapping[str, Any]) -> str:
    """Return the report as Markdown.

    :param document: what :meth:`~.run.Probe.document` gave.
    """
    values = {name: value for name, value in document.items() if not isinstance(value, list)}
    parts = [_INTRODUCTION, _table(({"": name, " ": value} for name, value in values.items()), ("", " "))]
    parts += ["## Questions\n", _table(document["questions"], ("question", "verdict", "seen"))]
    for question in document["questions"]:
        parts.append(f"## {question['question']}\n\nAsked: {question['asked']}. The provider {question['provider']}.\n")
        if question["answers"]:
            parts.append(_table(map(_answer_row, question["answers"]), tuple(_answer_row(question["answers"][0]))))
    if document["fields"]:
        parts += ["## Fields\n", _table(document["fields"], tuple(document["fields"][0]))]
    return "\n".join(parts)


def _other_fields(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in document["fields"] if row["verdict"] not in (Verdict.AS_EXPECTED.value, "not seen")]


def _part(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _answer_row(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": ", ".join(answer["headers"])}


def _table(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    lines = [_line(names), _line(["---"] * len(names))]
    lines += [_line([_cell(row[name]) for name in names]) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value).replace("|", "\\|")
