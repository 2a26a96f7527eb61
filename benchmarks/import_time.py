"""What a DAG file pays for importing every operator, sensor and trigger of the provider.

    python benchmarks/import_time.py [--runs 7]

Each run is a fresh interpreter that first imports Airflow's own base classes, then times the provider's modules. The
peer is the time those base classes take in the same process. Limit of the house: 60 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

LIMIT_MS = 60.0
MEASURE = """
import sys, time
began = time.perf_counter()
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger
based = time.perf_counter()
import airflow_provider_achieveit.operators.updates
import airflow_provider_achieveit.operators.export
import airflow_provider_achieveit.sensors.job
import airflow_provider_achieveit.triggers.job
done = time.perf_counter()
print((based - began) * 1000, (done - based) * 1000)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the import of all operators, sensors and triggers.")
    parser.add_argument("--runs", type=int, default=7, help="fresh interpreters to run (default 7)")
    runs = parser.parse_args().runs
    base, provider = [], []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(runs):
            done = subprocess.run(
                [sys.executable, "-c", MEASURE],
                env=os.environ | {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
                capture_output=True,
                text=True,
                check=True,
            )
            of_base, of_provider = map(float, done.stdout.split()[-2:])
            base.append(of_base)
            provider.append(of_provider)
    added, peer = statistics.median(provider), statistics.median(base)
    print(f"Airflow's base classes  {peer:8.1f} ms (median of {runs})")
    print(f"the provider adds       {added:8.1f} ms, from {min(provider):.1f} to {max(provider):.1f}")
    print(f"ratio                   {added / peer:8.3f} of Airflow's own, {added / LIMIT_MS:.2f} of {LIMIT_MS:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
