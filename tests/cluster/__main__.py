"""A whole Airflow with an AchieveIt, left running until Ctrl-C: ``make cluster``."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.cluster.world import running_world, what_is_missing


def main() -> None:
    """Run it, and tell where to look."""
    if missing := what_is_missing():
        sys.exit(f"The cluster cannot start: {missing}")
    with tempfile.TemporaryDirectory(prefix="achieveit-cluster-") as directory:
        print("Airflow starts with all its components; that takes half a minute.", flush=True)
        try:
            with running_world(Path(directory)) as world:
                print(f"Airflow:    {world.airflow.url}  (admin, password {world.airflow.password})")
                print(f"AchieveIt:  {world.achieveit.url}  (CA: {world.achieveit.ca_file})")
                print(f"PostgreSQL: {world.airflow.database_url('warehouse')}")
                print(f"Output:     {directory}")
                print("Stop it with Ctrl-C.", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            print("Stopped.")


if __name__ == "__main__":
    main()
