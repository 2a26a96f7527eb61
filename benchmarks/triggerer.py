"""What one triggerer bears while thousands of jobs are in flight: Airflow's own process, its database, a slow server.

    python benchmarks/triggerer.py [--jobs 2000 10000] [--peers databricks dbt-cloud]

In each case an ``airflow triggerer`` with a metadata database of its own waits for jobs of a server whose answers take
200 ms; see waiting.py for what is measured, and how. The other providers' triggers poll the same server, with their own
classes and defaults but the interval, in an environment of their own, ``.venv-peers``. What misses a target is marked.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from job_server import LATENCY
from metadata_database import Databases, environment
from processes import background, helper
from waiting import Case, Figures, Waiting

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = {
    "databricks": "apache-airflow-providers-databricks",
    "dbt-cloud": "apache-airflow-providers-dbt-cloud",
}
MORE_SOCKETS = 512
DELAYS = ("ends seen", "            max, s")
ROWS = {
    "jobs polled": "{asked:,}",
    "until all are polled, s": "{start:.0f}",
    "event-loop lag, p99, ms": "{lag_p99:.0f}",
    "                max, ms": "{lag_max:.0f}",
    "    at start, p99, ms": "{lag_start:.0f}",
    "cores, triggers' process": "{cores:.2f}",
    "       its supervisor": "{cores_supervisor:.2f}",
    "       the server": "{cores_server:.2f}",
    "requests/s": "{requests:.0f}",
    "sockets at most": "{sockets}",
    "new connections/s": "{connections:.0f}",
    "memory for a job, kB": "{memory:.0f}",
    "files of the supervisor": "{files:,}",
    "ends seen": "{seen} of {ends}",
    "seen after, median, s": "{delay_p50:.1f}",
    "            p95, s": "{delay_p95:.1f}",
    "            max, s": "{delay_max:.1f}",
    "task resumed, p95, s": "{resumed_p95:.1f}",
    "              max, s": "{resumed_max:.1f}",
}


def targets(poll: float) -> dict[str, float]:
    """Return the most that a row may tell."""
    return {
        "event-loop lag, p99, ms": 100,
        "cores, triggers' process": 0.9,
        "sockets at most": 64,
        "            max, s": poll + 1,
    }


class Bench:
    """Runs cases.

    :param peers_python: the interpreter that has the other providers.
    :param options: of the command line.
    :param directory: for files; emptied by who made it.
    :param databases: gives each case one.
    """

    def __init__(self, peers_python: str, options: argparse.Namespace, directory: Path, databases: Databases) -> None:
        self.peers_python, self.options = peers_python, options
        self.directory, self.databases = directory, databases
        self._runs = 0

    def run(self, case: Case) -> Figures:
        """Run a case and return its figures."""
        self._runs += 1
        home = self.directory / f"run{self._runs}"
        home.mkdir()
        # Airflow's defaults, but room for all triggers in one triggerer, and all of them in a few of its loops.
        apart = environment(home) | {
            "PYTHONPATH": f"{ROOT}:{HERE}",
            "PYTHONWARNINGS": "ignore",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__TRIGGERER__CAPACITY": "100000",
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "500",
        }
        python = self.peers_python if case.way in PEERS else sys.executable
        server_command = [sys.executable, str(HERE / "job_server.py"), "--directory", str(home)]
        with helper(server_command, apart) as server, self.databases.fresh(python) as database:
            apart["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
            apart["SSL_CERT_FILE"] = server.ready["ca_file"]
            where = ["--port", str(server.ready["port"]), "--ca-file", server.ready["ca_file"]]
            rows_command = [python, str(HERE / "trigger_rows.py"), case.way, *where]
            command = [python, "-m", "airflow", "triggerer", "--skip-serve-logs"]
            with helper(rows_command, apart) as rows, background(command, apart, home / "log") as pid:
                return Waiting(case, self.options, home, server, rows, pid).figures()


def table(figures: dict[Case, Figures], poll: float) -> str:
    """Return the figures in columns; what misses its target is marked."""
    lines = [["", *(case.way for case in figures), "target"], ["", *(case.told for case in figures), ""]]
    for row, form in ROWS.items():
        limit = targets(poll).get(row)
        cells = []
        for found in figures.values():
            cell = form.format(**found)
            missed = limit is not None and not float(cell.replace(",", "")) <= limit
            # What was never seen is in no delay.
            missed |= row in DELAYS and found["seen"] < found["ends"]
            cells.append("-" if "nan" in cell else cell + (" !" if missed else ""))
        lines.append([row, *cells, "" if limit is None else f"{limit:g}"])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def cases(options: argparse.Namespace) -> list[Case]:
    """Return what to run: the provider with all numbers of jobs, other ways of it, and what it is compared with."""
    fewest, most = min(options.jobs), max(options.jobs)
    chosen = [Case("provider", jobs) for jobs in options.jobs]
    if not options.only_provider:
        # A task with ten batches has ten jobs: as many jobs, but no more triggers than Airflow allows by default.
        chosen += [Case("provider", most, together=min(10, most))]
        chosen += [Case("provider", fewest, together=fewest), Case("provider", fewest, max_sockets=MORE_SOCKETS)]
        chosen += [Case(peer, jobs) for peer in options.peers for jobs in options.peer_jobs or [fewest]]
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description="Let thousands of jobs wait in one triggerer.")
    parser.add_argument("--jobs", type=int, nargs="+", default=[2_000, 10_000], help="in flight (default 2000 10000)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="other providers (default: all)")
    parser.add_argument("--peer-jobs", type=int, nargs="+", help="their jobs (default: the fewest of --jobs)")
    parser.add_argument("--peers-python", help="an interpreter that has them (default: that of .venv-peers)")
    parser.add_argument("--only-provider", action="store_true", help="no peers and no other ways of the provider")
    parser.add_argument("--poll", type=float, default=5.0, help="seconds between two looks at a job (default 5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure (default 60)")
    options = parser.parse_args()
    # Also then, what was started has to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peers_python = options.peers_python or str(ROOT / ".venv-peers" / "bin" / "python")
    with tempfile.TemporaryDirectory() as directory, Databases(Path(directory)) as databases:
        bench = Bench(peers_python, options, Path(directory), databases)
        figures = {}
        for case in cases(options):
            print(f"{case.way}, {case.told} ...", file=sys.stderr, flush=True)
            figures[case] = bench.run(case)
        print(f"Each answer takes {LATENCY * 1000:.0f} ms; polled every {options.poll:g} s.")
        print(table(figures, options.poll))
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {databases.kind}"
        print(f"{machine}, Airflow {version('apache-airflow')}, aiohttp {version('aiohttp')}", end="")
        shown = {case.way for case in figures} & PEERS.keys()
        print("".join(f", {way} {installed(peers_python, PEERS[way])}" for way in sorted(shown)))
    return 0


def installed(python: str, package: str) -> str:
    """Return the version of a package in another environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
