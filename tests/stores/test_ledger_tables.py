"""The ledger's tables and connections: made once, refused clearly, through outages, and by many at a time."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from airflow_provider_achieveit.api.contract import UpdateKind
from airflow_provider_achieveit.stores.ledger import Ledger, LedgerError, TaskKey, ledger_engine
from airflow_provider_achieveit.stores.records import BatchRecord, BatchState, SubmittedBatch
from airflow_provider_achieveit.updates.rejects import Reject
from tests.stores.conftest import DRIVERS
from tests.stores.databases import Database

ROOT = Path(__file__).parents[2]
PROCESSES = 8
BATCHES = [SubmittedBatch(f"{n}.csv", 1, f"{n:064x}") for n in range(3)]
SENDING = BatchRecord(BatchState.SENDING, at=1_770_000_000.0, filename="a.csv", rows=1)


def key_of(map_index: int = -1, try_number: int = 1) -> TaskKey:
    return TaskKey("dag", "task", "run", map_index, try_number, UpdateKind.PROGRESS, "achieveit_default")


def ledger_of(database: Database, *, url: str = "", table: str = "", **key: int) -> Ledger:
    return Ledger(database.ledger_engine(url), table=table or database.table, key=key_of(**key))


# --- Many processes ---------------------------------------------------------------------------------------------------


def run_workers(database: Database, work: list[tuple[int, int, list[str]]]) -> list[list[str]]:
    """Let one process each plan and claim what it is given (map index, try, fingerprints), all at once."""
    command = [sys.executable, "-m", "tests.stores.worker", database.url, database.table]
    with ExitStack() as stack:
        workers = []
        for map_index, try_number, fingerprints in work:
            worker = stack.enter_context(
                subprocess.Popen(
                    [*command, str(map_index), str(try_number), *fingerprints],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(worker.kill)
            workers.append(worker)
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdin is not None
            assert worker.stdout.readline() == "ready\n", worker.stderr and worker.stderr.read()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = []
        for worker in workers:
            out, err = worker.communicate(timeout=90)
            assert worker.returncode == 0, err
            told.append(json.loads(out))
        return told


def test_eight_processes_make_the_tables_and_claim_each_batch_once(database: Database) -> None:
    """Tries of one task, each of which believes the others dead."""
    fingerprints = [f"{number:064x}" for number in range(50)]
    # Each in another order, so that they meet in the middle.
    work = [(-1, n + 1, fingerprints[n * 6 :] + fingerprints[: n * 6]) for n in range(PROCESSES)]
    won = run_workers(database, work)
    assert sorted(chain.from_iterable(won)) == fingerprints
    rows = database.rows(order="fingerprint")
    assert [row["fingerprint"] for row in rows] == fingerprints
    by_try = {row["fingerprint"]: row["try_number"] for row in rows}
    assert all(by_try[fingerprint] == n + 1 for n, mine in enumerate(won) for fingerprint in mine)


def test_mapped_tasks_with_some_content_in_common_claim_each_batch_once(database: Database) -> None:
    common = [f"c{number}" for number in range(20)]
    work = [(n, 1, [*common, *(f"o{n}-{number}" for number in range(10))]) for n in range(PROCESSES)]
    won = run_workers(database, work)
    assert sorted(chain.from_iterable(won)) == sorted({fingerprint for *_, mine in work for fingerprint in mine})
    assert {row["state"] for row in database.rows()} == {"sending"}


# --- Tables -----------------------------------------------------------------------------------------------------------


def test_a_table_in_a_schema_is_named_with_a_dot(database: Database) -> None:
    schema = {"sqlite": "main", "postgresql": "public", "mysql": make_url(database.url).database}[database.name]
    with ledger_of(database, table=f"{schema}.{database.table}") as ledger:
        ledger.claim("a", SENDING)
        ledger.write_rejects([Reject(1, "c", "v", "r")])
    with ledger_of(database, try_number=2) as ledger:
        assert ledger.get("a") == SENDING
    assert len(database.rows("_rejects", "position")) == 1


@pytest.mark.parametrize("name", ["", ".t", "s."])
def test_a_name_that_is_none_is_told(name: str) -> None:
    with pytest.raises(LedgerError, match="is no name of a table"):
        Ledger(sqlalchemy.create_engine("sqlite://"), table=name, key=key_of())


def test_a_schema_that_is_missing_is_told(database: Database) -> None:
    with ledger_of(database, table="no_such_schema.t") as ledger, pytest.raises(LedgerError, match="no_such_schema"):
        ledger.get("a")


def test_a_name_that_would_be_cut_short_is_told(server: Database) -> None:
    with ledger_of(server, table="t" * 60) as ledger, pytest.raises(LedgerError, match=r"longer than the 6\d bytes"):
        ledger.get("a")


def test_names_are_quoted(database: Database) -> None:
    database.table = 'Odd " name; ` ' + database.table[-8:]
    try:
        with ledger_of(database) as ledger:
            ledger.claim("a", SENDING)
            ledger.write_rejects([])
            assert ledger.get("a") == SENDING
    finally:
        with database.engine().begin() as connection:
            quote = connection.dialect.identifier_preparer.quote
            names = [quote(database.table + suffix) for suffix in ("", "_rejects")]
            for name in names:
                connection.exec_driver_sql(f"drop table {name}")
        database.table = "ledger_none"


def test_a_table_that_lacks_columns_is_told_with_them(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.get("a")
    database.execute("drop table {}")
    database.execute("create table {} (id integer primary key, state varchar(20), slot varchar(64))")
    with ledger_of(database) as ledger, pytest.raises(LedgerError, match=r"lacks the column.* dag_id, .*fingerprint"):
        ledger.plan(BATCHES, 0)


def test_columns_of_the_users_own_do_no_harm(database: Database) -> None:
    with ledger_of(database) as ledger:
        ledger.get("a")
    database.execute("alter table {} add column note varchar(20)")
    with ledger_of(database) as ledger:
        ledger.plan(BATCHES, 0)
        ledger.claim(BATCHES[0].sha256, SENDING)
    assert len(database.rows()) == 3


@pytest.fixture
def restricted(server: Database) -> Iterator[str]:
    """The URL of somebody who may read and write the ledger, and make no table."""
    name = f"u{server.table[-12:]}"
    made, dropped = {
        "postgresql": (
            [f"create role {name} login password 'p'"],
            [f"drop owned by {name}", f"drop role {name}"],
        ),
        "mysql": (
            [f"create user {name} identified by 'p'", f"grant select on {make_url(server.url).database}.* to {name}"],
            [f"drop user {name}"],
        ),
    }[server.name]
    for statement in made:
        server.execute(statement)
    # A password where no server asks for one: what counts is who it is.
    url = make_url(server.url).set(username=name, password="p")
    yield url.render_as_string(hide_password=False)
    for statement in dropped:
        server.execute(statement)


def test_without_the_right_to_make_tables_the_statement_is_told(server: Database, restricted: str) -> None:
    with ledger_of(server, url=restricted) as ledger, pytest.raises(LedgerError) as caught:
        ledger.get("a")
    assert "denied" in str(caught.value)
    statement = str(caught.value).partition("make it so:")[2]
    server.execute(statement.replace("{", "{{").replace("}", "}}"))
    with ledger_of(server) as ledger:
        ledger.get("a")


def test_where_the_tables_are_no_right_to_make_any_is_needed(server: Database, restricted: str) -> None:
    with ledger_of(server) as ledger:
        ledger.get("a")
    user = make_url(restricted).username
    for suffix in ("", "_rejects"):
        server.execute("grant select, insert, update, delete on {}" + f"{suffix} to {user}")
    if server.name == "postgresql":
        server.execute("grant usage on sequence {}_id_seq to " + str(user))
    with ledger_of(server, url=restricted) as ledger:
        ledger.plan(BATCHES, 0)
        ledger.claim(BATCHES[0].sha256, SENDING)
        ledger.write_rejects([Reject(1, "c", "v", "r")])
        assert ledger.get(BATCHES[0].sha256) == SENDING


# --- Rejects ----------------------------------------------------------------------------------------------------------


def reject_rows(database: Database) -> list[tuple[Any, ...]]:
    names = ("try_number", "map_index", "position", "source_row", "source_column", "value", "reason")
    rows = database.rows("_rejects", "try_number, map_index, position")
    return [tuple(row[name] for name in names) for row in rows]


def test_every_reason_is_kept_and_a_try_replaces_its_own(database: Database) -> None:
    odd = Reject(2, "col\tumn\\", "😀\x00'\"\n", "no \\N status; {} %s")
    with (
        ledger_of(database) as ledger,
        ledger_of(database, try_number=2) as retry,
        ledger_of(database, map_index=3) as sibling,
    ):
        ledger.write_rejects([Reject(1, "", "", "old"), Reject(9, "", "", "old")])
        retry.write_rejects([Reject(1, "status", "", "missing")])
        sibling.write_rejects([Reject(5, "status", "x", "unknown")])
        ledger.write_rejects([Reject(1, "status", "g", "unknown"), Reject(1, "date", "", "missing"), odd])
    assert reject_rows(database) == [
        (1, -1, 0, 1, "status", "g", "unknown"),
        (1, -1, 1, 1, "date", "", "missing"),
        (1, -1, 2, 2, "col\tumn\\", "😀\ufffd'\"\n", "no \\N status; {} %s"),
        (1, 3, 0, 5, "status", "x", "unknown"),
        (2, -1, 0, 1, "status", "", "missing"),
    ]
    row = database.rows("_rejects", "position")[0]
    assert (row["dag_id"], row["kind"], row["achieveit_conn_id"]) == ("dag", "progress", "achieveit_default")
    written = row["written_at"]
    assert isinstance(datetime.fromisoformat(written) if isinstance(written, str) else written, datetime)
    with ledger_of(database) as ledger:
        ledger.write_rejects([])
    assert [row[0] for row in reject_rows(database)] == [1, 2]


def test_a_source_that_breaks_leaves_the_rejects_of_before(database: Database) -> None:
    def broken() -> Iterator[Reject]:
        for number in range(2500):
            yield Reject(number, "", "", "new")
        raise OSError("the spool is gone")

    with ledger_of(database) as ledger:
        ledger.write_rejects([Reject(1, "", "", "old")])
        with pytest.raises(OSError, match="spool"):
            ledger.write_rejects(broken())
    assert [row[-1] for row in reject_rows(database)] == ["old"]


def test_many_rejects_are_never_held_together(database: Database) -> None:
    alive = peak = 0

    class Counted(str):
        """A reason that knows whether it is still held."""

        def __new__(cls) -> Counted:
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)
            return super().__new__(cls, "r")

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    with ledger_of(database) as ledger:
        ledger.write_rejects(Reject(n, "c", "v", Counted()) for n in range(10_000))
    assert len(reject_rows(database)) == 10_000
    assert peak <= 5000


# --- Outages ----------------------------------------------------------------------------------------------------------


class Road:
    """A road to a server that can be closed: connections on it are cut, new ones refused."""

    def __init__(self, url: str) -> None:
        self.target = (make_url(url).host or "127.0.0.1", make_url(url).port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: list[socket.socket] = []
        self.url = make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.pairs += [client, server]
            for here, there in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    @staticmethod
    def _carry(here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(65536):
                there.sendall(data)
        except OSError:
            pass
        finally:
            for end in (here, there):
                cut(end)

    def close(self) -> None:
        cut(self.listener)
        self.listener.close()
        for end in self.pairs:
            cut(end)

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()


def cut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def road(url: str) -> Iterator[Road]:
    road = Road(url)
    try:
        yield road
    finally:
        road.close()
        for end in road.pairs:
            end.close()


@pytest.mark.parametrize("pooled", [False, True])
def test_what_was_sent_is_written_down_through_an_outage(server: Database, pooled: bool) -> None:
    with road(server.url) as way:
        engine = server.ledger_engine(way.url) if pooled else Database(way.url).engine()
        with Ledger(engine, table=server.table, key=key_of()) as ledger:
            ledger.plan(BATCHES, 0)
            ledger.claim(BATCHES[0].sha256, SENDING)
            way.close()
            reopen = threading.Timer(1.5, way.open)
            reopen.start()
            began = time.monotonic()
            ledger.put(BATCHES[0].sha256, BatchRecord(BatchState.QUEUED, "job-1", at=SENDING.at))
            assert time.monotonic() - began >= 1.4
            reopen.join()
    assert [row["job_id"] for row in server.rows()] == ["job-1", None, None]


def test_before_anything_is_sent_an_outage_fails_at_once(server: Database) -> None:
    with road(server.url) as way, ledger_of(server, url=way.url) as ledger:
        ledger.plan(BATCHES, 0)
        way.close()
        began = time.monotonic()
        for call in (
            lambda: ledger.claim(BATCHES[0].sha256, SENDING),
            lambda: ledger.plan(BATCHES, 0),
            ledger.open_batches,
        ):
            with pytest.raises(sqlalchemy.exc.OperationalError):
                call()
        assert time.monotonic() - began < 3


def test_a_server_that_does_not_answer_is_given_up(server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_achieveit.stores import ledger as module

    driver = make_url(server.url).get_driver_name()
    monkeypatch.setattr(module, "_LIMITS", {driver: dict.fromkeys(module._LIMITS[driver], 2)})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = make_url(server.url).set(host="127.0.0.1", port=silent.getsockname()[1])
        began = time.monotonic()
        with (
            ledger_of(server, url=url.render_as_string(hide_password=False)) as ledger,
            pytest.raises(sqlalchemy.exc.OperationalError),
        ):
            ledger.get("a")
        assert time.monotonic() - began < 8


def test_a_row_that_somebody_holds_is_waited_for_but_not_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_achieveit.stores import ledger as module

    with ledger_of(database) as ledger:
        ledger.plan(BATCHES, 0)
    monkeypatch.setattr(module, "_LOCK_SECONDS", 1)
    with database.engine().connect() as somebody:
        held = somebody.begin()
        somebody.exec_driver_sql(f"update {database.table} set reason = 'looking'")
        with ledger_of(database) as ledger:
            began = time.monotonic()
            with pytest.raises(sqlalchemy.exc.OperationalError):
                ledger.claim(BATCHES[0].sha256, SENDING)
            assert 0.9 < time.monotonic() - began < 5
        # What was sent is written down as soon as they let go.
        queued = BatchRecord(BatchState.QUEUED, "job-1", at=SENDING.at)

        def write() -> None:
            # Opened here: SQLite's connections are of one thread, which has to close them too.
            with ledger_of(database) as ledger:
                ledger.put(BATCHES[0].sha256, queued)

        writing = threading.Thread(target=write)
        writing.start()
        time.sleep(1.5)
        held.rollback()
        writing.join(timeout=30)
    assert sorted(str(row["job_id"]) for row in database.rows()) == ["None", "None", "job-1"]


def test_what_the_database_would_refuse_again_is_not_repeated(server: Database) -> None:
    with ledger_of(server) as ledger:
        ledger.claim("a", SENDING)
        began = time.monotonic()
        with pytest.raises(sqlalchemy.exc.DataError):
            ledger.put("a", BatchRecord(BatchState.QUEUED, "j" * 300))
        assert time.monotonic() - began < 3


# --- Airflow's connections --------------------------------------------------------------------------------------------


# MySQL's provider has to build a client of C, so it is not here.
@pytest.mark.parametrize("database", [driver for driver in DRIVERS if "mysql" not in driver], indirect=True)
def test_an_airflow_connection_gives_an_engine(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import BaseHook

    url = make_url(database.url)
    connection: dict[str, Any] = {"conn_type": "sqlite", "host": url.database}
    if database.name == "postgresql":
        connection = {"conn_type": "postgres", "host": url.host, "port": url.port, "login": url.username}
        connection |= {"password": url.password, "schema": url.database}
        connection["extra"] = {"sqlalchemy_scheme": url.drivername}
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER", json.dumps(connection))
    engine = ledger_engine(BaseHook.get_connection("ledger").get_hook())
    assert engine.url.get_backend_name() == database.name
    with Ledger(engine, table=database.table, key=key_of()) as ledger:
        ledger.plan(BATCHES, 0)
        ledger.claim(BATCHES[0].sha256, SENDING)
        assert ledger.get(BATCHES[0].sha256) == SENDING
    assert len(database.rows()) == 3
