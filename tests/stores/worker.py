"""A worker process of its own: ``python -m tests.stores.worker URL TABLE MAP_INDEX TRY_NUMBER FINGERPRINT...``.

It says "ready", waits for a line, then plans and claims all it was given, and prints what it got.
"""

from __future__ import annotations

import json
import sys

import sqlalchemy

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.ledger import Ledger, TaskKey
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, ClaimLost, SubmittedBatch


def main(url: str, table: str, map_index: str, try_number: str, *fingerprints: str) -> None:
    key = TaskKey("dag", "task", "run", int(map_index), int(try_number), UpdateKind.PROGRESS, "achieveit_default")
    won = []
    # With a pool: the fewer connections are made, the closer they meet.
    with Ledger(sqlalchemy.create_engine(url), table=table, key=key) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        ledger.plan([SubmittedBatch(f"{f}.csv", 1, f) for f in fingerprints], generation=0)
        seen = {fingerprint: ledger.get(fingerprint) for fingerprint in fingerprints}
        for fingerprint, record in seen.items():
            if record is None or record.state is not BatchState.PLANNED:
                continue
            try:
                ledger.claim(fingerprint, BatchRecord(BatchState.SENDING, filename=f"{fingerprint}.csv", rows=1))
            except ClaimLost:
                continue
            won.append(fingerprint)
    print(json.dumps(won), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
