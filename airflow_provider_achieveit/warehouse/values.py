"""One API value to one column value. Pure, and never silently lossy.

A converter returns the value, or raises :class:`InexactError` with the nearest value a column can hold (None if there
is none); the caller then keeps the original in ``extra``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from html.entities import html5
from typing import Any

import msgspec

from airflow_provider_achieveit.warehouse.model import Column, ColumnType

Convert = Callable[[Any], Any]

_encode = msgspec.json.Encoder(decimal_format="number").encode

# ASCII digits only: Decimal() would also take underscores and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,5})?", re.ASCII)
_MAX_DIGITS = 1000
"""Digits before or after the point; PostgreSQL's NUMERIC takes more, but no metric is that long."""
_FRACTION = re.compile(r"[.,](\d+)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_INT64 = range(-(2**63), 2**63)


class InexactError(ValueError):
    """A column cannot hold this value as it is.

    :param value: the nearest it can hold; None: nothing of it.
    """

    def __init__(self, value: Any = None) -> None:
        super().__init__("not exact")
        self.value = value


def to_json(value: Any) -> str:
    """Return JSON text; decimals and integers of any size stay exact, a null byte is escaped."""
    return _encode(value).decode()


def converter(column: Column, *, unescape_html: bool, null_bytes: bool) -> Convert:
    """Return the function that converts the values of a column.

    :param column: the column.
    :param unescape_html: turn ``&amp;`` back to ``&`` in plain-text columns.
    :param null_bytes: the database can store U+0000 in text.
    """
    if column.type is not ColumnType.TEXT:
        return _CONVERTERS[column.type]
    unescape = unescape_html and column.escaped

    def text(value: Any) -> str:
        if type(value) is not str:
            # A key must not be NULL: a number stands as its digits, and as itself in ``extra``.
            raise InexactError(str(value) if column.key else None)
        if "\x00" in value and not null_bytes:
            cleaned = value.replace("\x00", "")
            raise InexactError(_unescape(cleaned) if unescape else cleaned)
        return _unescape(value) if unescape and "&" in value else value

    return text


def _unescape(text: str) -> str:
    """Turn whole entities into characters; ``html.unescape`` alone would also make ``®ion`` of ``&region``."""
    return _ENTITY.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    entity = found[0]
    return html.unescape(entity) if entity[1] == "#" or entity[1:] in html5 else entity


def _integer(value: Any) -> int:
    if type(value) is int and value in _INT64:
        return value
    raise InexactError


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise InexactError


def _decimal(value: Any) -> Decimal | None:
    if type(value) is str:
        text = value.strip()
        if not text:
            return None
        if not _DECIMAL.fullmatch(text):
            raise InexactError
        number = Decimal(text)
    elif type(value) in (int, Decimal):
        number = Decimal(value)
    else:
        raise InexactError
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MAX_DIGITS or number.adjusted() > _MAX_DIGITS:
        raise InexactError
    return number


def _moment(value: Any) -> datetime:
    """Read an ISO 8601 moment; without a zone it is UTC, without a time it is midnight."""
    if type(value) is not str:
        raise InexactError
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InexactError from None
    fraction = _FRACTION.search(value)
    if fraction and fraction[1][6:].strip("0"):
        # .NET writes seven digits; databases keep six.
        raise InexactError(moment)
    return moment


_CONVERTERS: dict[ColumnType, Convert] = {
    ColumnType.INTEGER: _integer,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.DECIMAL: _decimal,
    ColumnType.MOMENT: _moment,
    ColumnType.JSON: to_json,
}
