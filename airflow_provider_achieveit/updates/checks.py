"""What one value must be, field by field: pure functions that return the checked value or raise InvalidValue.

The rules are those of "Submitting Progress Updates" and "Submitting Metric Updates" of the AchieveIt help centre. What
the documents leave open is let through unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from numbers import Integral, Number
from uuid import UUID

from airflow_provider_achieveit.api.contract import (
    EXTERNAL_ID_FORBIDDEN_CHARACTERS,
    EXTERNAL_ID_FORBIDDEN_WORD,
    STATUSES,
)
from airflow_provider_achieveit.api.nearest import did_you_mean

CACHED_TEXTS = 4096
"""Statuses and dates repeat: each distinct text is read once."""


class InvalidValue(ValueError):  # noqa: N818  it is an answer about data, not a fault of the program
    """A value that cannot be sent; its text is the reason, without the value."""


def is_null(value: object) -> bool:
    """Tell whether a value says "nothing": None, empty or blank text, a float NaN, NaT or pandas.NA.

    A ``Decimal("NaN")`` is not NULL: pandas never makes it, so a database really holds it.
    """
    if value is None:
        return True
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, Decimal):
        return False
    if type(value).__name__ == "NAType":  # pandas.NA refuses to be compared
        return True
    try:
        return bool(value != value)  # NaN and NaT alone differ from themselves
    except (TypeError, ValueError):  # an array or another container
        return False


# --- External id ------------------------------------------------------------------------------------------------------

_ID_FORBIDDEN = re.compile(
    f"[{re.escape(EXTERNAL_ID_FORBIDDEN_CHARACTERS)}]|{EXTERNAL_ID_FORBIDDEN_WORD}", re.IGNORECASE
)
# Each of these is far quicker than the search for both.
_ID_FORBIDDEN_CHARACTER = re.compile(f"[{re.escape(EXTERNAL_ID_FORBIDDEN_CHARACTERS)}]")


def check_external_id(value: object) -> str:
    """Return an external id as text, kept exactly.

    :param value: text, an integer, a UUID or a Decimal without decimal places.
    :raises InvalidValue: anything else, or text the documents forbid.
    """
    text = value if type(value) is str else _id_text(value)
    if not text or text.isspace():
        raise InvalidValue("missing: every update needs an external id")
    if _ID_FORBIDDEN_CHARACTER.search(text) or EXTERNAL_ID_FORBIDDEN_WORD in text.lower():
        found = _ID_FORBIDDEN.search(text)
        raise InvalidValue(f"an external id must not contain {_forbidden_name(found.group() if found else '')}")
    if not text.isprintable():
        _refuse_characters(text, "an external id", ("Cc", "Zl", "Zp", "Cs"))
    return text


def _id_text(value: object) -> str:
    if is_null(value):
        return ""
    if isinstance(value, str | UUID):
        return str(value)
    if isinstance(value, bool):
        raise InvalidValue("a truth value is no external id; give text, an integer or a UUID")
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
        return str(value)
    if isinstance(value, Number):
        raise InvalidValue(
            f"a {type(value).__name__} with decimal places is no external id; cast the column to text in the source"
        )
    raise InvalidValue(f"a {type(value).__name__} is no external id; give text, an integer or a UUID")


def _forbidden_name(found: str) -> str:
    names = {",": "a comma", '"': "a quotation mark"}
    return names.get(found, f'the word "{EXTERNAL_ID_FORBIDDEN_WORD}"')


def _refuse_characters(text: str, what: str, categories: tuple[str, ...]) -> None:
    for char in text:
        category = unicodedata.category(char)
        if category in categories:
            kind = "a lone surrogate" if category == "Cs" else "a control character or line break"
            raise InvalidValue(f"{what} must not contain {kind} (U+{ord(char):04X})")


# --- Status -----------------------------------------------------------------------------------------------------------


def check_status_options(status_map: Mapping[object, str] | None, extra_statuses: Iterable[str]) -> None:
    """Check what a DAG says about statuses, before there is any row.

    :param status_map: source value to status.
    :param extra_statuses: statuses of this tenant besides :data:`~..api.contract.STATUSES`.
    :raises ValueError: an extra status is no text, or the map leads to a status that does not exist, or maps NULL.
    """
    _statuses(status_map, extra_statuses)


def status_check(status_map: Mapping[object, str] | None, extra_statuses: Iterable[str]) -> Callable[[object], str]:
    """Return the function that turns a source value into a status in its documented spelling.

    The map is looked up first, by the value's text without outer blanks; then the statuses, in any case.

    :param status_map: source value to status (default: none).
    :param extra_statuses: statuses of this tenant besides :data:`~..api.contract.STATUSES`.
    :raises ValueError: as :func:`check_status_options`.
    """
    mapped, by_folded = _statuses(status_map, extra_statuses)

    @lru_cache(CACHED_TEXTS)
    def find(text: str) -> str:
        status = mapped.get(text) or by_folded.get(text.casefold())
        if status is None:
            known = [*by_folded.values(), *mapped]
            raise InvalidValue(f"no such status{did_you_mean(text, known)}; known are {', '.join(known)}")
        return status

    def check(value: object) -> str:
        if type(value) is not str:
            value = "" if is_null(value) else str(value)
        if not (text := value.strip()):
            raise InvalidValue("missing: every progress update needs a status")
        return find(text)

    return check


def _statuses(
    status_map: Mapping[object, str] | None, extra_statuses: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    if isinstance(extra_statuses, str):
        raise ValueError(f"extra_statuses must be a list of statuses, not the text {extra_statuses!r}")
    by_folded = {status.casefold(): status for status in STATUSES}
    for status in extra_statuses:
        if not isinstance(status, str) or not status.strip() or not status.isprintable():
            raise ValueError(f"extra_statuses: {status!r} is no status; give its name as AchieveIt shows it")
        by_folded.setdefault(status.strip().casefold(), status.strip())
    mapped = {}
    for key, status in (status_map or {}).items():
        target = by_folded.get(status.strip().casefold()) if isinstance(status, str) else None
        if target is None:
            known = list(by_folded.values())
            raise ValueError(
                f"status_map: {key!r} leads to {status!r}, which is no status{did_you_mean(str(status), known)}; "
                f"known are {', '.join(known)}. A status of your own tenant belongs into extra_statuses."
            )
        if is_null(key):
            raise ValueError(f"status_map: {key!r} cannot be mapped: a row without a status is never sent")
        mapped[str(key).strip()] = target
    return mapped, by_folded


# --- Comment ----------------------------------------------------------------------------------------------------------


def check_comment(value: object) -> str | None:
    """Return a comment as text, kept exactly; None for NULL.

    :param value: text, or a number, truth value, date or UUID, whose text is taken.
    :raises InvalidValue: another type, a NUL character, or what UTF-8 cannot hold.
    """
    if value is None or is_null(value):
        return None
    if not isinstance(value, str | Number | date | UUID):
        raise InvalidValue(f"a {type(value).__name__} is no comment; give text")
    text = str(value)
    if "\0" in text:
        raise InvalidValue("a comment must not contain a NUL character (U+0000)")
    if not text.isprintable():
        _refuse_characters(text, "a comment", ("Cs",))
    return text
