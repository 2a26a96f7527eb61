"""Metric values: exact decimals, and plain words for text that is none."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, DecimalException
from numbers import Integral, Real

from airflow_provider_achieveit.updates.checks import InvalidValue, is_null

MAX_METRIC_DIGITS = 100
_PLAIN_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


def check_metric_value(value: object) -> Decimal | None:
    """Return a metric value as an exact Decimal; None for NULL.

    :param value: an integer, a Decimal, a finite float (its shortest decimal form is taken) or plain decimal text.
    :raises InvalidValue: anything else.
    """
    number: Decimal
    if type(value) is Decimal or type(value) is int:
        number = Decimal(value)
    elif type(value) is float and value == value:  # the fast way past NaN
        number = Decimal(repr(value))
    elif is_null(value):
        return None
    elif isinstance(value, str):
        number = _decimal_of_text(value.strip())
    elif isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise InvalidValue(f"a {type(value).__name__} is no number")
    else:  # numpy's numbers and other relatives
        try:
            number = Decimal(int(value) if isinstance(value, Integral) else str(value))
        except DecimalException:
            raise InvalidValue(f"a {type(value).__name__} is no decimal number") from None
    if not number.is_finite():
        raise InvalidValue("neither infinity nor NaN is a metric value; leave it NULL where there is none")
    if abs(number.adjusted()) > MAX_METRIC_DIGITS:
        raise InvalidValue(f"more than {MAX_METRIC_DIGITS} digits before the point, or zeros after it")
    return number or number.copy_abs()  # zero has no sign


def check_required_metric_value(value: object) -> Decimal:
    """Return a metric value as :func:`check_metric_value`, where there must be one.

    :raises InvalidValue: NULL, or what :func:`check_metric_value` refuses.
    """
    number = check_metric_value(value)
    if number is None:
        raise InvalidValue("missing: every metric update needs a metric value")
    return number


def _decimal_of_text(text: str) -> Decimal:
    if _PLAIN_DECIMAL.fullmatch(text):
        return Decimal(text)
    raise InvalidValue(_why_no_decimal(text))


def _why_no_decimal(text: str) -> str:
    if "%" in text:
        return "no percent sign: write percentages as fractions, 20% is 0.2"
    if any(unicodedata.category(char) == "Sc" for char in text):
        return "no currency sign: write the number alone"
    if "," in text:
        return "no comma: write no thousands separators and a point before decimal places, as in 1234.5"
    if re.fullmatch(r"[+-]?[0-9.]+e[+-]?[0-9]+", text, re.IGNORECASE):
        return "no exponent: write all digits, 1.5e3 is 1500"
    if any(char.isdigit() and not char.isascii() for char in text):
        return "only the digits 0 to 9 are understood"
    return "no plain decimal number: write an optional sign, digits and at most one point, as in -1234.5"
