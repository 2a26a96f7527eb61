"""What every test may use. The environment is set before anything imports Airflow."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.airflow_versions import AIRFLOW, NEWEST
from tests.depth import depth

if TYPE_CHECKING:
    from airflow_provider_achieveit.simulator.server import RunningSimulator
    from tests.dag_runs import TaskLog

# Each pytest process (each xdist worker is one) has an Airflow home of its own, so that they never share a database.
_HOME = Path(tempfile.mkdtemp(prefix="achieveit-airflow-"))
# A developer's own Airflow, its settings, connections and database, must not reach a test nor be reached by one.
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # A DAG that a test changes is another one at once.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "dags_examples"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_HOME / "logs"),
        # An Airflow without one says so, in the middle of what a command tells.
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(b"only-for-this-test-process-32-by").decode(),
        "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-this-test-process-" * 3,
        "NO_PROXY": "localhost,127.0.0.1",
    }
)

_PACKAGE = "airflow_provider_achieveit"
_LONGEST = (
    "test_crash_campaign",
    "test_modes_side_by_side",
    "test_modes_killed",
    "test_modes_by_model",
    "test_ledger_tables",
    "test_whole_export",
    "test_growth",
    "test_tutorial",
    "test_drift",
)
_ANSWERED_LATER = ["DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "SyntaxWarning"]

if AIRFLOW < (3,):
    # As in Airflow 3; without it every process of Airflow begins with a warning.
    os.environ["AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY"] = "True"

# The same examples every time, and no limit on the clock: a busy machine is no failure.
settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=depth(60, short=20))
settings.load_profile("deterministic")


def pytest_configure(config: pytest.Config) -> None:
    # An older Airflow, and the libraries that it holds back, warn of what has long been mended in newer ones. What our
    # own modules are warned of stays an error.
    if not NEWEST:
        # Airflow 3.0 looks for the DAG's version of every task that it clears.
        ignored = [*(f"ignore::{name}" for name in _ANSWERED_LATER), "ignore:fully NULL primary key identity"]
        # The execution API of 3.2 is made of fields that pydantic takes no alias of.
        ignored.append("ignore:The .alias. attribute with value")
        for line in [*ignored, f"error:::{_PACKAGE}"]:
            config.addinivalue_line("filterwarnings", line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with some of the longest modules: at the end, one would run them while all others wait."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    # Each worker gets as many tests as any other, in their order, and those that are done take from the rest.
    share, others = len(items) // workers, [item for item in items if item.path.stem not in _LONGEST]
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        first = [item for name in _LONGEST[worker::workers] for item in items if item.path.stem == name]
        taken = max(0, share - len(first))
        ordered += [*first, *others[:taken]]
        del others[:taken]
    items[:] = [*ordered, *others]


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db() -> Iterator[None]:
    """Airflow's own metadata database, made once for the process."""
    from airflow.utils.db import initdb

    from tests import execution_api

    execution_api.keep_one()
    initdb()
    yield
    from airflow import settings

    settings.dispose_orm()


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options by which a submit keeps account of what it has sent: a ledger, where Airflow has no task state store."""
    if AIRFLOW >= (3, 3):
        return {}
    monkeypatch.setenv(
        "AIRFLOW_CONN_ACCOUNT", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "account.db")})
    )
    return {"ledger_conn_id": "account"}


@pytest.fixture
def task_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> TaskLog:
    """What tasks, triggers and callbacks have logged: Airflow 3 writes it to standard output."""
    if AIRFLOW >= (3,):
        # Where it is not JSON, an error is folded to the width of the terminal.
        monkeypatch.setenv("COLUMNS", "2000")
        from tests.dag_runs import without_masked

        return lambda: without_masked(capfd.readouterr().out)
    caplog.set_level("INFO")
    return lambda: caplog.text


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    """A running simulator with the demo plan, as the connection ``achieveit_default``; jobs end at once."""
    from airflow_provider_achieveit.simulator.server import running

    with running() as simulator:
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection())
        yield simulator


@pytest.fixture
def tls_simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSimulator]:
    """As ``simulator``, over https with a CA of its own."""
    from airflow_provider_achieveit.simulator.server import running

    with running(tls=True) as simulator:
        monkeypatch.setenv("AIRFLOW_CONN_ACHIEVEIT_DEFAULT", simulator.connection())
        yield simulator
