"""The command ``python -m airflow_provider_achieveit.simulator``."""

from __future__ import annotations

import argparse
import signal
import sys

from airflow_provider_achieveit.simulator.faults import KINDS
from airflow_provider_achieveit.simulator.options import OPTIONS
from airflow_provider_achieveit.simulator.seed_data import demo_world

_STOP = {signal.SIGINT, signal.SIGTERM}
_EPILOG = f"""\
where to look, at http://127.0.0.1:8400 (with --tls: https):
  /             a page with plans, items, jobs and every batch as it came
  /swagger/     the API
  /_simulator/  control: faults, settings, users, plans, jobs, batches, log, reset

make it misbehave: here the next two questions after a job are answered with 429 (with --tls add: --cacert FILE)
  curl -X POST http://127.0.0.1:8400/_simulator/faults -H 'Content-Type: application/json' \\
    -d '{{"kind": "status", "path": "/status/", "status": 429, "times": 2, "headers": {{"Retry-After": "1"}}}}'
kinds of faults: {", ".join(KINDS)}
-X DELETE on the same address ends them all; more of both:
  python -m pydoc airflow_provider_achieveit.simulator.faults
  python -m pydoc airflow_provider_achieveit.simulator.control
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the simulator until it is interrupted.

    :param arguments: the command line (default: the process's).
    :raises SystemExit: something is wrong with the arguments, or it cannot start.
    """
    serve(_parser().parse_args(arguments))


def serve(options: argparse.Namespace) -> None:
    """Run the simulator until it is interrupted.

    :param options: what was given for :data:`~.options.OPTIONS`.
    :raises SystemExit: something is wrong with them, or it cannot start.
    """
    # Blocked in every thread, so that only sigwait below gets them and the server stops in an orderly way.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        from airflow_provider_achieveit.simulator.server import running

        with running(
            options.port,
            host=options.host,
            tls=options.tls,
            tls_names=options.tls_name,
            ca_file=options.ca_file,
            job_seconds=options.job_seconds,
            state_file=options.state,
            world=demo_world(options.api_key),
        ) as simulator:
            print(f"AchieveIt simulator at {simulator.url}  (page: /, OpenAPI: /swagger/, control: /_simulator/)")
            print(f"API key:  {simulator.api_key}")
            if simulator.ca_file:
                print(f"CA file:  {simulator.ca_file}")
            print(f"Airflow:  export AIRFLOW_CONN_ACHIEVEIT_DEFAULT='{simulator.connection()}'")
            print("Stop it with Ctrl-C.", flush=True)
            signal.sigwait(_STOP)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"The simulator cannot start: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_achieveit.simulator",
        description="A local AchieveIt for development and tests: a real HTTP server that keeps the API's contract.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, settings in OPTIONS:
        parser.add_argument(name, **settings)
    return parser


if __name__ == "__main__":
    main()
