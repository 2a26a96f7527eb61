"""One API value to one column value. Pure, and never silently lossy.

A converter returns the value, or raises :class:`InexactError` with the nearest value a column can hold (None if there
is none); the caller then keeps the original in ``extra``. Most columns of most pages need none: :func:`taker` tells.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial
from html.entities import html5
from types import NoneType
from typing import Any

import msgspec

from airflow_provider_achieveit.warehouse.model import Column, ColumnType

Convert = Callable[[Any], Any]
Takes = Callable[[Sequence[Any]], bool]

_encode = msgspec.json.Encoder(decimal_format="number").encode

# ASCII digits only: Decimal() would also take underscores and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,5})?", re.ASCII)
_MAX_DIGITS = 1000
"""Digits before or after the point; PostgreSQL's NUMERIC takes more, but no metric is that long."""
_FRACTION = re.compile(r"[.,](\d+)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_INT64 = range(-(2**63), 2**63)
_REMEMBERED = 8192
"""Dates, figures and names come again and again, page after page."""


class InexactError(ValueError):
    """A column cannot hold this value as it is.

    :param value: the nearest it can hold; None: nothing of it.
    """

    def __init__(self, value: Any = None) -> None:
        super().__init__("not exact")
        self.value = value


def to_json(value: Any) -> str:
    """Return JSON text; decimals and integers of any size stay exact, what text cannot hold is escaped."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return _encode(_ascii(value)).decode()


def _ascii(value: Any) -> Any:
    """Return a value with its texts as ASCII JSON: halves of UTF-16 pairs have a form there only."""
    if isinstance(value, dict):
        # A name has to be text: that of the escape.
        return {name.encode("utf-8", "backslashreplace").decode(): _ascii(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_ascii(entry) for entry in value]
    return msgspec.Raw(json.dumps(value).encode()) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Limits:
    """What the columns of a database can hold.

    :param null_bytes: text may hold U+0000.
    :param decimal: digits before and after the point of a decimal; None: as many as :data:`_MAX_DIGITS`.
    :param empty_text: an empty text is told from NULL.
    """

    null_bytes: bool = True
    decimal: tuple[int, int] | None = None
    empty_text: bool = True


def converter(column: Column, *, unescape_html: bool, limits: Limits) -> Convert:
    """Return the function that converts the values of a column.

    :param column: the column.
    :param unescape_html: turn ``&amp;`` back to ``&`` in plain-text columns.
    :param limits: what the column can hold.
    """
    if column.type is ColumnType.DECIMAL and limits.decimal:
        return partial(_decimal_within, *limits.decimal)
    if column.type is not ColumnType.TEXT:
        return _CONVERTERS[column.type]
    unescape = unescape_html and column.escaped

    def text(value: Any) -> str:
        if type(value) is not str:
            # A key must not be NULL: a number stands as its digits, and as itself in ``extra``.
            raise InexactError(str(value) if column.key else None)
        if not value and not limits.empty_text:
            raise InexactError
        cleaned = _cleaned(value, limits)
        stored = _unescape(cleaned) if unescape and "&" in cleaned else cleaned
        if cleaned != value:
            raise InexactError(stored)
        return stored

    return text


def taker(column: Column, *, unescape_html: bool, limits: Limits) -> Takes:
    """Return the function that tells, at the speed of C, whether all of some values would stay as they are.

    A False may be wrong: the values are then converted one by one.

    :param column: the column.
    :param unescape_html: turn ``&amp;`` back to ``&`` in plain-text columns.
    :param limits: what the column can hold.
    """
    plain = _PLAIN.get(column.type)
    unescape = unescape_html and column.escaped

    def takes(values: Sequence[Any]) -> bool:
        kinds = set(map(type, values)) - {NoneType}
        if kinds == {str} == {plain}:
            text = "".join(filter(None, values))
            clean = _cleaned(text, limits) == text and not (unescape and "&" in text)
            return clean and (limits.empty_text or "" not in values)
        if kinds == {int} == {plain}:
            numbers = [value for value in values if value is not None]
            return min(numbers) in _INT64 and max(numbers) in _INT64
        return not kinds or kinds == {bool} == {plain}

    return takes


def _cleaned(text: str, limits: Limits) -> str:
    """Return what a database can hold of a text: no half of a UTF-16 pair, which UTF-8 has no bytes for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text if limits.null_bytes else text.replace("\x00", "")


@lru_cache(_REMEMBERED)
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
        return _decimal_of(value.strip())
    if type(value) in (int, Decimal):
        return _within_reason(Decimal(value))
    raise InexactError


@lru_cache(_REMEMBERED)
def _decimal_of(text: str) -> Decimal | None:
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        raise InexactError
    return _within_reason(Decimal(text))


def _within_reason(number: Decimal) -> Decimal:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MAX_DIGITS or number.adjusted() > _MAX_DIGITS:
        raise InexactError
    return number


def _decimal_within(before: int, after: int, value: Any) -> Decimal | None:
    """Read a decimal that has no more digits than these, zeros at its end apart."""
    number = _decimal(value)
    if number:
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        while exponent < -after and not digits[-1]:
            digits, exponent = digits[:-1], exponent + 1
        if number.adjusted() >= before or exponent < -after:
            raise InexactError
    return number


def _moment(value: Any) -> datetime:
    """Read an ISO 8601 moment; without a zone it is UTC, without a time it is midnight."""
    if type(value) is not str:
        raise InexactError
    return _moment_of(value)


@lru_cache(_REMEMBERED)
def _moment_of(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InexactError from None
    fraction = _FRACTION.search(text)
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
_PLAIN: dict[ColumnType, type] = {ColumnType.TEXT: str, ColumnType.INTEGER: int, ColumnType.BOOLEAN: bool}
"""What a column holds whose values need no conversion, as long as they are of this type."""
