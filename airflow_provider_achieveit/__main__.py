"""The command ``python -m airflow_provider_achieveit``: as ``airflow achieveit``, on every version of Airflow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code.

    :param arguments: the command line (default: the process's).
    :raises SystemExit: always.
    """
    from airflow_provider_achieveit.cli.definition import get_cli_commands

    [group] = get_cli_commands()
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_achieveit", description=group.help)
    parsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for command in group.subcommands:
        one = parsers.add_parser(command.name, help=command.help, description=command.help, epilog=command.epilog)
        for arg in command.args:
            arg.add_to_parser(one)
        one.set_defaults(func=command.func)
    options = parser.parse_args(arguments)
    options.func(options)


if __name__ == "__main__":
    main()
