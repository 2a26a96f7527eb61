"""The commands and their options, as Airflow's command line wants them: one definition for both doors.

Every start of ``airflow`` imports this, so it imports nothing of the provider but the simulator's list of options; what
a command does is imported when it runs. See "CLI Commands" in Airflow's documentation of provider packages.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

from airflow_provider_achieveit.simulator.options import OPTIONS as SIMULATOR_OPTIONS

_COMMANDS = "airflow_provider_achieveit.cli.commands"
_EXIT_CODES = (
    "exit codes: 0 done; 1 failed, and the same again would fail again; 2 the command line or its file cannot be used; "
    "3 something was sent and it is not safe to repeat: look first; 75 worth repeating as it is; 130 interrupted"
)


class Pairs(argparse.Action):
    """Reads ``name=value,name=value`` into a dict; the option may be repeated.

    A comma belongs to the value where no further ``name=`` follows it.
    """

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Add the pairs of one option; each name once."""
        found = dict(getattr(namespace, self.dest, {}))
        for pair in re.split(r",(?=[^,=]+=)", values):
            name, equals, value = pair.partition("=")
            if not name.strip() or not equals:
                raise argparse.ArgumentError(self, f"{pair!r} is no NAME=VALUE")
            if name.strip() in found:
                raise argparse.ArgumentError(self, f"{name.strip()!r} is given twice")
            found[name.strip()] = value
        setattr(namespace, self.dest, found)


def _option(*flags: str, **settings: Any) -> Arg:
    # What is not given is not handed on: the operators' defaults are the only ones.
    return Arg(flags, **{"default": argparse.SUPPRESS, **settings})


_COMMON = (
    Arg(
        ("-o", "--output"),
        choices=("table", "json"),
        default="table",
        help="table (default): for people; json: one JSON document on standard output, and nothing else there",
    ),
    Arg(("-v", "--verbose"), action="store_true", default=False, help="show the provider's log on standard error"),
)
_CONN_ID = _option(
    "--conn-id",
    dest="achieveit_conn_id",
    metavar="ID",
    help="Airflow connection of AchieveIt (default: achieveit_default)",
)
_KIND = Arg(
    ("--kind",), choices=("progress", "metric"), default="progress", help="the kind of updates (default: progress)"
)
_PATH_CONN_ID = _option(
    "--path-conn-id", metavar="ID", help="Airflow connection of the file's object store, if it needs one"
)

_CHECKS = (
    Arg(("path",), metavar="FILE", help=".csv, .json, .jsonl or .parquet, here or on an object store (s3://...)"),
    _KIND,
    _PATH_CONN_ID,
    _option(
        "--columns",
        action=Pairs,
        metavar="FIELD=COLUMN,...",
        help="which column holds external_id, status, metric_value, as_of_date, comment (default: columns of these "
        "names); may be repeated",
    ),
    _option("--as-of-date", metavar="DATE", help="one date for all rows, where no column has it"),
    _option("--timezone", metavar="ZONE", help="the zone in which a moment is a day (default: UTC)"),
    _option(
        "--status-map",
        action=Pairs,
        metavar="WORD=STATUS,...",
        help="the file's own words for statuses, such as G='On Track'; may be repeated",
    ),
    _option(
        "--extra-status",
        action="append",
        dest="extra_statuses",
        metavar="STATUS",
        help="a status that only your tenant has; may be repeated",
    ),
    _option("--format", choices=("csv", "json"), help="format of the batches (default: csv)"),
    _option("--no-header", action="store_false", dest="header", help="write CSV batches without a header row"),
    _option("--batch-size", type=int, metavar="ROWS", help="rows in one batch (default: 5000)"),
    _option("--on-invalid", choices=("fail", "skip"), help="bad rows: send nothing (fail, default) or the rest (skip)"),
    _option("--rejects-path", metavar="FILE", help="CSV file for all rejected rows and why"),
    _option(
        "--on-duplicate",
        choices=("fail", "last", "first"),
        help="the same item and date twice: send nothing (fail, default), or one of them",
    ),
    _option(
        "--on-empty",
        choices=("skip", "fail", "succeed"),
        help="no rows: say so (skip, default), fail, or succeed with a result of zeros",
    ),
    _option("--artifact-path", metavar="DIR", help="keep the exact bytes of each batch in this directory"),
)
_SUBMIT = (
    _CONN_ID,
    _option(
        "--wait",
        action=argparse.BooleanOptionalAction,
        dest="wait_for_completion",
        help="wait until AchieveIt has applied the batches (default: wait)",
    ),
    _option("--poll-interval", type=float, metavar="SECONDS", help="between two looks at a job (default: 10)"),
    _option("--wait-timeout", type=float, metavar="SECONDS", help="how long to wait at most (default: 3600)"),
    _option("--ledger-conn-id", metavar="ID", help="SQL connection in which it is written down what was sent"),
    _option("--ledger-table", metavar="TABLE", help="that table (default: achieveit_submissions)"),
    _option(
        "--run-id",
        metavar="NAME",
        help="with a ledger: submits of one NAME are one piece of work, whatever their file (default: by the file's "
        "address)",
    ),
    _option(
        "--resubmit",
        choices=("if_changed", "always"),
        help="with a ledger: leave out what was applied before (if_changed, default), or send it again",
    ),
    _option(
        "--on-unsure",
        choices=("fail", "resubmit"),
        help="an answer got lost after a batch went out: stop (fail, default) or send it again",
    ),
    Arg(("--dry-run",), action="store_true", default=False, help="as validate: all but sending"),
)
_STATUS = (Arg(("job_ids",), nargs="+", metavar="JOB", help="id of a job"), _KIND, _CONN_ID)
_EXPORT = (
    Arg(("plan_id",), metavar="PLAN", help='id of the plan ("Copy Plan ID" in the options menu of its root item)'),
    Arg(("--to",), dest="path", metavar="FILE", required=True, help="the file, here or on an object store (s3://...)"),
    _CONN_ID,
    _PATH_CONN_ID,
    _option("--format", choices=("parquet", "jsonl", "csv"), help="format of the file (default: by its extension)"),
    _option("--page-size", type=int, metavar="ITEMS", help="items in one request, 1 to 1500 (default: 1500)"),
    _option("--sort-key", metavar="KEY", help="the API's sort key for paging (default: sequenceId)"),
    _option("--parallel-pages", type=int, metavar="N", help="pages requested at the same time (default: 4)"),
    _option("--max-reads", type=int, metavar="N", help="reads of the plan until its pages fit together (default: 3)"),
    _option(
        "--no-unescape-html",
        action="store_false",
        dest="unescape_html",
        help="leave &amp; and the like in names as they are",
    ),
)
_PROBE = (
    Arg(
        ("plan_id",),
        nargs="?",
        default="",
        metavar="PLAN",
        help="id of a plan to read, at best one of more than 1500 items (default: the connection's plan_id)",
    ),
    _CONN_ID,
    _option("--report", metavar="FILE", help="write all that was seen into this new file, as Markdown"),
    _option(
        "--write-item",
        metavar="ID",
        help="send one progress update, marked by its comment, to the item with this External ID; needs --status and "
        "--as-of-date",
    ),
    _option("--status", metavar="STATUS", help="with --write-item: the status that the item is to have"),
    _option("--as-of-date", metavar="DATE", help="with --write-item: the day of the update"),
    _option("--metric-value", metavar="VALUE", help="with --write-item: the value, if the item has a metric"),
    _option("--format", choices=("csv", "json"), help="with --write-item: the format of the update (default: csv)"),
)


def get_cli_commands() -> list[GroupCommand]:
    """Return the group ``achieveit``; Airflow 3.2 and later calls this."""
    return [GroupCommand("achieveit", help="Push updates to AchieveIt, export plans", subcommands=COMMANDS)]


def _command(name: str, help: str, args: Sequence[Arg]) -> ActionCommand:  # noqa: A002 - as Airflow calls it
    func = lazy_load_command(f"{_COMMANDS}.{name}")
    return ActionCommand(name, help=help, func=func, args=(*args, *_COMMON), epilog=_EXIT_CODES)


COMMANDS = (
    _command("check", "Tell whether the connection works; sends nothing", (_CONN_ID,)),
    _command("validate", "Check every row of a file; no connection is needed, nothing is sent", _CHECKS),
    _command("submit", "Check a file, send it in batches, and wait until they are applied", (*_CHECKS, *_SUBMIT)),
    _command("status", "Tell how far jobs are; one look at each", _STATUS),
    _command("export", "Write a plan's items, as they are now, into a file", _EXPORT),
    _command("probe", "Tell how a tenant answers where the documents are silent; a report without secrets", _PROBE),
    ActionCommand(
        "simulate",
        help="Run a local AchieveIt for development until Ctrl-C (extra: simulator)",
        func=lazy_load_command(f"{_COMMANDS}.simulate"),
        args=[Arg((name,), **settings) for name, settings in SIMULATOR_OPTIONS],
        epilog="more of it: python -m airflow_provider_achieveit.simulator --help",
    ),
)
