"""As-of dates: the calendar day that a value means."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from functools import lru_cache

from airflow_provider_achieveit.updates.checks import CACHED_TEXTS, InvalidValue, is_null

# datetime.fromisoformat takes any character, even a digit, between date and time.
_ISO_MOMENT = re.compile(r"[0-9W-]{7,10}[Tt ][0-9].*")
# A time of day does not matter to the day, but an offset would, and so might anything else that stands there.
_MINUTES = r":[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
_TIME = rf"(?:[01]?[0-9]|2[0-3]){_MINUTES}|(?:0?[1-9]|1[0-2]){_MINUTES}\s*[AP]M"
_US_DATE = re.compile(rf"([0-9]{{1,2}})/([0-9]{{1,2}})/([0-9]{{4}})(?:[T ]+(?:{_TIME}))?", re.IGNORECASE)


def as_of_date_check(timezone: tzinfo) -> Callable[[object], date]:
    """Return the function that turns a source value into the calendar day of an update.

    It takes a date; a datetime (pandas.Timestamp is one); ISO-8601 text of a date or a moment; US text MM/DD/YYYY, with
    a time of day or without. A moment with an offset counts by its day in ``timezone``, one without by its own day.

    :param timezone: the zone whose calendar counts.
    """

    @lru_cache(CACHED_TEXTS)
    def of_text(text: str) -> date:
        try:
            return _day_of_text(text, timezone)
        except InvalidValue:
            raise
        except ValueError:
            raise InvalidValue(
                "no such day: write YYYY-MM-DD or another ISO-8601 date or moment, or MM/DD/YYYY, which takes no offset"
            ) from None

    def check(value: object) -> date:
        if type(value) is date:
            return value
        if is_null(value):
            raise InvalidValue("missing: every update needs an as-of date")
        if isinstance(value, str):
            return of_text(value.strip())
        if isinstance(value, datetime):
            return _day_of(value, timezone)
        if isinstance(value, date):
            return date(value.year, value.month, value.day)
        raise InvalidValue(f"a {type(value).__name__} is no date; give a date, a datetime or text such as 2026-01-31")

    return check


def _day_of_text(text: str, timezone: tzinfo) -> date:
    if us := _US_DATE.fullmatch(text):
        month, day, year = map(int, us.groups())
        return date(year, month, day)
    if _ISO_MOMENT.fullmatch(text):
        return _day_of(datetime.fromisoformat(text), timezone)
    return date.fromisoformat(text)


def _day_of(moment: datetime, timezone: tzinfo) -> date:
    if moment.tzinfo is None:
        return moment.date()
    try:
        return moment.astimezone(timezone).date()
    except OverflowError:
        raise InvalidValue("too far away to be moved into another time zone") from None
