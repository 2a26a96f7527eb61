"""Rows given to an operator directly or by XCom, kept out of what Airflow stores and renders."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import XComArg


class InlineRows:
    """Holds rows behind a short text.

    Airflow stores the text of every rendered template field and treats each text inside lists and dicts as a template.
    Rows are data: neither may happen to them.

    :param value: the rows.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        try:
            return f"<{len(self.value)} rows>"
        except TypeError:
            return "<rows>"

    __repr__ = __str__


def hold_rows(value: Any) -> Any:
    """Return rows behind :class:`InlineRows`; what Airflow still has to resolve, and what is held already, as it is."""
    if value is None or isinstance(value, InlineRows | XComArg):
        return value
    return InlineRows(value)
