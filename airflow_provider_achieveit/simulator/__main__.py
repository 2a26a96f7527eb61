"""The command ``python -m airflow_provider_achieveit.simulator``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from airflow_provider_achieveit.simulator.faults import KINDS
from airflow_provider_achieveit.simulator.seed_data import demo_world
from airflow_provider_achieveit.simulator.world import DEFAULT_API_KEY

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
    options = _parser().parse_args(arguments)
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
    parser.add_argument("--port", type=int, default=8400, help="TCP port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="serve HTTPS by a CA of its own")
    parser.add_argument(
        "--tls-name", action="append", default=[], metavar="NAME", help="further host name of the certificate"
    )
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="where the CA is kept, its private key beside it in FILE.key; used again at the next start (default: "
        "beside the file of --state, else a file that lasts as long as the server)",
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the state in this file over restarts")
    parser.add_argument(
        "--job-seconds", type=float, default=2.0, metavar="S", help="how long a job is processed (default: %(default)s)"
    )
    parser.add_argument(
        "--api-key", default=DEFAULT_API_KEY, metavar="KEY", help="the key to accept (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    main()
