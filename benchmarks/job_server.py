"""A server that tells the states of jobs, at the addresses of AchieveIt and of two others, over TLS; it costs little.

    python benchmarks/job_server.py --directory DIR [--latency 0.2]

Jobs are numbered. Their state is looked up when half of the latency is over, as that of a server so far away would be.
Commands are lines of JSON on the standard input, each answered by a line; the first line tells port and CA file:

    {"end": {"17": 3.5}}     job 17 ends in 3.5 seconds (others never)
    {"report": true}         what was asked, and when the first answer that tells an end left, by job
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from airflow_provider_achieveit.simulator.tls import write_certificates

LATENCY = 0.2
BODY = "\r\n\r\n"


class Jobs:
    """When each job ends, and what was asked."""

    def __init__(self) -> None:
        self.ends: dict[int, float] = {}
        self.told: dict[int, float] = {}
        self.asked: set[int] = set()
        self.requests = self.open = self.peak = self.connections = 0

    def report(self) -> dict[str, Any]:
        told = {job: [self.ends[job], moment] for job, moment in self.told.items()}
        peak, self.peak = self.peak, self.open
        return {
            "asked": len(self.asked),
            "requests": self.requests,
            "connections": self.connections,
            "peak": peak,
            "told": told,
        }


def read(path: str, body: bytes) -> tuple[int, bool]:
    """Return the job that a request asks about, and whether it is one of AchieveIt's."""
    if path.startswith("/api/progressupdates/status/"):
        return int(path.rpartition("-")[2]), True
    if body:
        # Databricks: GET /api/2.2/jobs/runs/get with a body.
        return int(json.loads(body)["run_id"]), False
    # dbt Cloud: GET /api/v2/accounts/1/runs/17/
    return int(path.partition("?")[0].rstrip("/").rpartition("/")[2]), False


def answer(job: int, ended: bool, achieveit: bool) -> bytes:
    """Return the answer about a job, as short as the client can read."""
    if achieveit:
        return f"HTTP/1.1 {'200 OK' if ended else '202 Accepted'}\r\nContent-Length: 0{BODY}".encode()
    state = {"life_cycle_state": "TERMINATED" if ended else "RUNNING", "state_message": ""}
    told = {
        "data": {"id": job, "status": 10 if ended else 3},
        "run_id": job,
        "state": state | ({"result_state": "SUCCESS"} if ended else {}),
    }
    body = json.dumps(told)
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}{BODY}{body}".encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection, which carries one request at a time."""

    def __init__(self, jobs: Jobs, latency: float) -> None:
        self.jobs, self.latency, self.received = jobs, latency, b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.jobs.open += 1
        self.jobs.connections += 1
        self.jobs.peak = max(self.jobs.peak, self.jobs.open)

    def connection_lost(self, exc: Exception | None) -> None:
        self.jobs.open -= 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(BODY.encode())
        if not found:
            return
        headers = head.decode("latin-1").lower()
        length = int(headers.partition("content-length:")[2].partition("\r\n")[0] or 0)
        if len(body) < length:
            return
        self.received = b""
        job, achieveit = read(headers.split(" ", 2)[1], body)
        self.jobs.requests += 1
        self.jobs.asked.add(job)
        self.loop.call_later(self.latency / 2, self.look, job, achieveit)

    def look(self, job: int, achieveit: bool) -> None:
        ended = self.jobs.ends.get(job, float("inf")) <= time.time()
        self.loop.call_later(self.latency / 2, self.reply, job, ended, achieveit)

    def reply(self, job: int, ended: bool, achieveit: bool) -> None:
        if self.transport.is_closing():
            return
        if ended:
            self.jobs.told.setdefault(job, time.time())
        self.transport.write(answer(job, ended, achieveit))


async def serve(latency: float, directory: Path) -> None:
    jobs, loop = Jobs(), asyncio.get_running_loop()
    ca_file = directory / "ca.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(write_certificates(directory, ca_file, ["localhost", "127.0.0.1"]))
    server = await loop.create_server(lambda: Connection(jobs, latency), "127.0.0.1", 0, ssl=tls, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1], "ca_file": str(ca_file)}), flush=True)
    commands = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        now = time.time()
        jobs.ends.update({int(job): now + seconds for job, seconds in command.get("end", {}).items()})
        print(json.dumps(jobs.report() if command.get("report") else {}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell the states of jobs.")
    parser.add_argument(
        "--latency", type=float, default=LATENCY, help=f"seconds until an answer is there (default {LATENCY})"
    )
    parser.add_argument("--directory", type=Path, required=True, help="where the certificates go")
    options = parser.parse_args()
    asyncio.run(serve(options.latency, options.directory))


if __name__ == "__main__":
    main()
