"""Checks of operator arguments that several operators share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from airflow_provider_achieveit.api.nearest import nearest

Choice = TypeVar("Choice", bound=str)


def one_of(name: str, value: Choice, allowed: Sequence[Choice]) -> Choice:
    """Return the value if it is allowed.

    :param name: the argument, for the message.
    :param value: what was given.
    :param allowed: what may be given.
    :raises ValueError: it is not; names the nearest one.
    """
    if value in allowed:
        return value
    near = nearest(str(value), allowed)
    hint = f"; did you mean {near!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}{hint}")


def seconds(name: str, value: float | timedelta) -> float:
    """Return a duration in seconds.

    :param name: the argument, for the message.
    :param value: seconds or a timedelta.
    :raises ValueError: not a duration longer than nothing.
    """
    length = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(length, bool) or not isinstance(length, int | float) or not 0 < length < float("inf"):
        raise ValueError(f"{name} must be a number of seconds above 0 or a timedelta, not {value!r}")
    return float(length)
