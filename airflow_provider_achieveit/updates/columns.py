"""Which column of a source is which field of an update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from airflow_provider_achieveit.api.contract import KIND_FIELDS, REQUIRED_FIELDS, UpdateField, UpdateKind
from airflow_provider_achieveit.api.nearest import did_you_mean


def resolve_columns(columns: Mapping[str, str] | None, kind: UpdateKind) -> dict[UpdateField, str]:
    """Return the source column of each field.

    :param columns: field name to column name; exactly these fields are then read. None (default): every field of the
        kind is read from the column of its own name, optional ones only where the source has it.
    :param kind: the kind of updates.
    :raises ValueError: a field that does not exist or that this kind has not, or an empty column name.
    """
    allowed = KIND_FIELDS[kind]
    if columns is None:
        return {field: field.value for field in allowed}
    if not isinstance(columns, Mapping):
        raise ValueError(f"columns must map field names to column names, not be a {type(columns).__name__}")
    for name, column in columns.items():
        if name not in [field.value for field in allowed]:
            why = f"{kind.value} updates have no status" if name == UpdateField.STATUS else "no such field"
            raise ValueError(
                f"columns: {name!r}: {why}{did_you_mean(str(name), allowed)}; the fields of {kind.value} updates are "
                f"{', '.join(allowed)}. Write columns={{field: column of the source}}."
            )
        if not isinstance(column, str) or not column:
            raise ValueError(f"columns: {name!r} needs the name of a column of the source, not {column!r}")
    return {UpdateField(name): column for name, column in columns.items()}


def check_required_fields(columns: Mapping[UpdateField, str], kind: UpdateKind, *, has_date: bool) -> None:
    """Check that the fields every update needs are mapped, and that the date comes from one place.

    :param columns: as :func:`resolve_columns` gave it for a mapping of the user's.
    :param kind: the kind of updates.
    :param has_date: whether one date for all rows is given.
    :raises ValueError: a required field is not mapped, or there are two dates.
    """
    if has_date and UpdateField.AS_OF_DATE in columns:
        raise ValueError("as_of_date is given for all rows and mapped in columns too; leave one of them out")
    for field in KIND_FIELDS[kind]:
        if _is_required(field, kind, has_date) and field not in columns:
            hint = " or give one as_of_date for all rows" if field is UpdateField.AS_OF_DATE else ""
            raise ValueError(f"columns: {kind.value} updates need {field.value!r}; name its column in the source{hint}")


def check_source_columns(
    columns: Mapping[UpdateField, str],
    source_columns: Sequence[str],
    kind: UpdateKind,
    *,
    explicit: bool,
    has_date: bool,
    date_is_default: bool = False,
    source_name: str = "the source",
) -> None:
    """Check a source's columns against the mapping, before any row is looked at.

    A column that is there and not read must be left out on purpose: named in no ``columns`` that the user gave, or
    nothing like a field. An optional field would otherwise be lost without a word.

    :param columns: as :func:`resolve_columns` gave it.
    :param source_columns: the names of the source's columns, in its order.
    :param kind: the kind of updates.
    :param explicit: whether the user named the columns; each must then exist. Otherwise only required ones must.
    :param has_date: whether one date for all rows is given.
    :param date_is_default: whether that date is only the run's, taken because nobody named another.
    :param source_name: what to call the source in a message.
    :raises ValueError: a column that is missing or there twice, or not read though it looks like a field, or two places
        for the date.
    """
    available = f"{source_name} has the columns {', '.join(map(repr, source_columns)) or '(none)'}"
    read = {column for field, column in columns.items() if not (has_date and field is UpdateField.AS_OF_DATE)}
    for column, like in _look_alikes(source_columns, kind):
        if column in read:
            continue
        if like is UpdateField.AS_OF_DATE and date_is_default:
            raise ValueError(
                f"{source_name} has a column {column!r} that columns does not map; map it, or give as_of_date"
            )
        if like is UpdateField.AS_OF_DATE and has_date and not explicit:
            raise ValueError(
                f"as_of_date is given for all rows, and {source_name} has a column {column!r} too; leave one of them "
                "out, or name the columns to use in columns"
            )
        if not explicit:
            raise ValueError(
                f"column {column!r} looks like {like.value!r} but is not read; map it with columns={{...}}. {available}"
            )
    for field, column in columns.items():
        found = list(source_columns).count(column)
        if found > 1:
            raise ValueError(f"column {column!r} ({field.value}) is there {found} times; name each once. {available}")
        if found == 0 and (explicit or _is_required(field, kind, has_date)):
            raise ValueError(
                f"no column {column!r} for {field.value!r}{did_you_mean(column, source_columns)}: {available}. "
                f"Map it with columns={{{field.value!r}: ...}}."
            )


def _look_alikes(source_columns: Sequence[str], kind: UpdateKind) -> Iterator[tuple[str, UpdateField]]:
    """Yield each column whose letters and digits are those of a field's name, in any case, and that field."""
    fields = {_folded(field): field for field in KIND_FIELDS[kind]}
    for column in source_columns:
        if field := fields.get(_folded(column)):
            yield column, field


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _is_required(field: UpdateField, kind: UpdateKind, has_date: bool) -> bool:
    return field in REQUIRED_FIELDS[kind] and not (has_date and field is UpdateField.AS_OF_DATE)
