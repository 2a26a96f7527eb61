"""What happens with rows that cannot be sent: every one is told, and the task fails where none may be left out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_achieveit.exceptions import AchieveItInvalidRowsError, AchieveItRequestError

if TYPE_CHECKING:
    from airflow_provider_achieveit.stores.records import SubmissionStore
    from airflow_provider_achieveit.updates.rejects import Reject
    from airflow_provider_achieveit.updates.spool import Prepared

_IN_ERROR = 20
_IN_LOG_BESIDE_FILE = 100
_IN_ONE_LOG_RECORD = 50


def check_rejects_path(path: str | None, source: str | None) -> None:
    """See to it that the file of rejects does not take the place of the source.

    :param path: the file of rejects; None: there is none.
    :param source: the source file; None: the source is no file.
    :raises AchieveItRequestError: both are one file.
    """
    if path and source and _address(path) == _address(source):
        raise AchieveItRequestError(
            f"rejects_path={path!r} is the source itself, which would be lost; nothing was sent. Give another file"
        )


def _address(path: str) -> str:
    path = path.removeprefix("file://")
    return path if "://" in path else str(Path(path).resolve())


def tell_rejects(prepared: Prepared, *, path: str | None, store: SubmissionStore, log: Any) -> None:
    """Tell every rejected row: all in the file if one is wanted, else all in the log; in the ledger too.

    :param prepared: the checked rows.
    :param path: CSV file on any object store; it is written without rejects too, so that none of an older run is left.
    :param store: where it is written down what was sent; a ledger keeps the rejects too.
    :param log: the task's logger.
    """
    store.write_rejects(prepared.rejects())
    if path:
        _write(prepared.rejects(), path)
        log.info("Wrote the reasons of %d rejected rows to %s", prepared.rows_rejected, path)
    rejects = islice(prepared.rejects(), _IN_LOG_BESIDE_FILE if path else None)
    while told := [str(reject) for reject in islice(rejects, _IN_ONE_LOG_RECORD)]:
        log.warning("Rejected rows:\n%s", "\n".join(told))


def refuse_rejects(prepared: Prepared, *, skip_invalid: bool, path: str | None) -> None:
    """Fail before anything is sent, where rows must not be left out or none is left.

    :param prepared: the checked rows.
    :param skip_invalid: whether rows with bad values may be left out. Duplicates may not: choosing among them is said
        with ``on_duplicate``.
    :param path: where all rejects are, for the message; None: in the log.
    :raises AchieveItInvalidRowsError: tells the first rows and what to do.
    """
    if prepared.rows_duplicate:
        advice = "an external id and date comes twice: mend the source, or set on_duplicate to 'last' or 'first'"
    elif prepared.rows_invalid and not skip_invalid:
        advice = "mend the source, or set on_invalid='skip' to send the rest"
    elif prepared.rows_valid == 0:
        advice = "no row is left to send"
    else:
        return
    told = [str(reject) for reject in islice(prepared.rejects(), _IN_ERROR)]
    raise AchieveItInvalidRowsError(
        f"{prepared.rows_rejected} of {prepared.rows_read} rows rejected, nothing was sent; {advice}.\n"
        + "\n".join(told)
        + f"\nAll of them are {f'in {path}' if path else 'told above'}."
    )


def _write(rejects: Iterable[Reject], path: str) -> None:
    from airflow_provider_achieveit.operators.places import object_path
    from airflow_provider_achieveit.updates.rejects import write_rejects_csv

    target = object_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as stream:
        write_rejects_csv(stream, rejects)
