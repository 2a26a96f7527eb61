"""One checked update, and the checker that makes it from a row of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from airflow_provider_achieveit.api.contract import UpdateField, UpdateKind
from airflow_provider_achieveit.api.nearest import did_you_mean
from airflow_provider_achieveit.updates.checks import (
    InvalidValue,
    check_comment,
    check_external_id,
    status_check,
)
from airflow_provider_achieveit.updates.columns import check_required_fields, check_source_columns, resolve_columns
from airflow_provider_achieveit.updates.dates import as_of_date_check
from airflow_provider_achieveit.updates.metric_values import check_metric_value, check_required_metric_value
from airflow_provider_achieveit.updates.rejects import Reject, reject_value


class Record(NamedTuple):
    """One update that may be sent; its fields are in the order of :class:`~..api.contract.UpdateField`.

    :param external_id: the plan item.
    :param status: in the documented spelling; None in metric updates.
    :param metric_value: exact; None where a progress update has none.
    :param as_of_date: the day of the update.
    :param comment: kept exactly; None where there is none.
    """

    external_id: str
    status: str | None
    metric_value: Decimal | None
    as_of_date: date
    comment: str | None


class Checker:
    """Turns rows of a source into records, or tells everything that is wrong with them.

    :param kind: the kind of updates.
    :param columns: field name to column name, as the user gave it (None: columns have the names of the fields).
    :param status_map: source value to status (default: none).
    :param extra_statuses: statuses of this tenant besides the seven that every tenant has.
    :param as_of_date: one date for all rows, where the source has no such column (default: none).
    :param timezone: IANA name or tzinfo of the zone whose calendar day counts for moments with an offset.
    :param date_is_default: whether ``as_of_date`` is only the run's date, taken because nobody named another; a source
        that has such a column then is an error.
    :ivar fields: the column and the check of each field, in the order of :class:`~..api.contract.UpdateField`; the
        check takes a value of the source, gives the value of the record and raises ValueError for a bad one. A field
        that is not read from the source has no column, and a check that gives the same for whatever it takes.
    :raises ValueError: an argument that cannot be right, told with what to do.
    """

    def __init__(
        self,
        kind: UpdateKind,
        columns: Mapping[str, str] | None = None,
        status_map: Mapping[Any, str] | None = None,
        extra_statuses: Iterable[str] = (),
        as_of_date: date | str | None = None,
        timezone: str | tzinfo = "UTC",
        date_is_default: bool = False,
    ) -> None:
        self.kind = kind
        self.columns = resolve_columns(columns, kind)
        self._explicit = columns is not None
        self._has_date = as_of_date is not None
        self._date_is_default = date_is_default
        if self._explicit:
            check_required_fields(self.columns, kind, has_date=self._has_date)
        check_date = as_of_date_check(_zone(timezone))
        checks: dict[UpdateField, Callable[[Any], Any]] = {
            UpdateField.EXTERNAL_ID: check_external_id,
            UpdateField.STATUS: status_check(status_map, extra_statuses),
            UpdateField.METRIC_VALUE: (
                check_metric_value if kind is UpdateKind.PROGRESS else check_required_metric_value
            ),
            UpdateField.AS_OF_DATE: check_date,
            UpdateField.COMMENT: check_comment,
        }
        constants: dict[UpdateField, Any] = {}
        if self._has_date:
            try:
                constants[UpdateField.AS_OF_DATE] = check_date(as_of_date)
            except InvalidValue as error:
                raise ValueError(f"as_of_date={as_of_date!r}: {error}") from None
        # A field that is not read from the source is a constant; no row has a column named None.
        self.fields: list[tuple[str | None, Callable[[Any], Any]]] = [
            (self.columns[field], checks[field])
            if field in self.columns and field not in constants
            else (None, _constant(constants.get(field)))
            for field in UpdateField
        ]

    def check_columns(self, source_columns: Sequence[str], source_name: str = "the source") -> None:
        """Check a source's columns, as :func:`.columns.check_source_columns`.

        :raises ValueError: a column that is missing or there twice, or not read though it looks like a field, or two
            places for the date.
        """
        check_source_columns(
            self.columns,
            source_columns,
            self.kind,
            explicit=self._explicit,
            has_date=self._has_date,
            date_is_default=self._date_is_default,
            source_name=source_name,
        )

    def check(self, row_number: int, row: Mapping[Any, Any]) -> Record | list[Reject]:
        """Check one row.

        :param row_number: number of the data row, from 1.
        :param row: column name to value; a column that is not there is NULL.
        :return: the record, or one reject for each bad column.
        """
        get = row.get
        # Written out: a loop over the five would take twice the time.
        (id_column, check_id), (status_column, check_status), (value_column, check_value), *rest = self.fields
        (date_column, check_date), (comment_column, check_comment) = rest
        try:
            return Record(
                check_id(get(id_column)),
                check_status(get(status_column)),
                check_value(get(value_column)),
                check_date(get(date_column)),
                check_comment(get(comment_column)),
            )
        except ValueError:
            return self._rejects(row_number, row)

    def _rejects(self, row_number: int, row: Mapping[Any, Any]) -> list[Reject]:
        rejects = []
        for column, check in self.fields:
            value = row.get(column)
            try:
                check(value)
            except ValueError as error:  # InvalidValue, or an integer too long to become text
                rejects.append(Reject(row_number, str(column), reject_value(value), str(error)))
        return rejects


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _zone(timezone: str | tzinfo) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        near = did_you_mean(timezone, available_timezones())
        raise ValueError(f"timezone={timezone!r}: no such time zone{near}; give an IANA name") from None
