"""docker-compose.yaml without an engine: the specification, and every name in it against what it names."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.airflow_versions import needs_airflow_of_compose

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yaml"
SECRETS = "/opt/achieveit/secrets"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOTS = {"secrets", "airflow-init"}
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("airflow-provider")}
AIRFLOW = {name: service for name, service in OURS.items() if name.startswith("airflow-")}
SCALABLE = {name: service for name, service in AIRFLOW.items() if name not in ONE_SHOTS}
"""What may be there several times: `docker compose up --scale <name>=2`."""
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")

needs_celery = pytest.mark.skipif(
    "apache-airflow-providers-celery" not in {distribution.name for distribution in importlib.metadata.distributions()},
    reason="apache-airflow-providers-celery is not installed",
)


def service_names() -> Any:
    return pytest.mark.parametrize("name", SERVICES)


# --- The file itself --------------------------------------------------------------------------------------------------


def test_keeps_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_has_every_part_of_a_distributed_airflow() -> None:
    assert {
        "airflow-api-server",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "airflow-worker",
        "airflow-init",
        "postgres",
        "redis",
        "simulator",
        "warehouse",
    } <= SERVICES.keys()
    assert AIRFLOW["airflow-worker"]["environment"]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"


@service_names()
def test_image_is_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.fullmatch(r"\d+\.\d+[\w.-]*", tag), f"{image}:{tag} may change from one day to the next"


@service_names()
def test_waits_for_services_in_a_state_that_they_reach(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        if wait["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert other in ONE_SHOTS


def test_waits_do_not_go_in_circles() -> None:
    order = list(
        TopologicalSorter({name: service.get("depends_on", {}) for name, service in SERVICES.items()}).static_order()
    )
    assert order.index("secrets") == 0 or "secrets" in order[:2]
    assert order.index("airflow-init") < min(order.index(name) for name in AIRFLOW if name != "airflow-init")


@service_names()
def test_either_ends_or_is_watched(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()


@service_names()
def test_mounts_exist(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source, target = mount.split(":")[:2]
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]


def test_every_volume_is_used_and_the_examples_are_the_dags() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service["volumes"]}
    assert set(COMPOSE["volumes"]) == {source for source in used if not source.startswith(".")}
    for name in AIRFLOW:
        assert "./dags_examples:/opt/airflow/dags:ro" in AIRFLOW[name]["volumes"]


@service_names()
def test_only_this_machine_can_reach_it(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


# --- Several of a kind ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALABLE)
def test_a_second_one_finds_its_place(name: str) -> None:
    service = SERVICES[name]
    # Names of a container and its host are Docker's to give: that of its logs and its worker is then one of its own.
    assert not {"container_name", "hostname", "mac_address", "network_mode"} & service.keys()
    for port in service.get("ports", []):
        first, last = port.split(":")[1].split("-")
        assert int(last) > int(first)
    # What two of them write is written by two: in directories that are made for it.
    written = {mount.split(":")[0] for mount in service["volumes"] if not mount.endswith(":ro")}
    assert written == {"logs", "secrets"}


@pytest.mark.parametrize("name", SCALABLE)
def test_a_check_asks_its_own_container(name: str) -> None:
    words = shlex.split(" ".join(SERVICES[name]["healthcheck"]["test"][1:]))
    if words[0] == "airflow":
        assert "--local" in words
    elif words[0] == "celery":
        assert words[words.index("--destination") + 1] == "celery@$$HOSTNAME"
    else:
        assert urlsplit(words[-1]).hostname == "localhost"


def test_the_database_has_connections_for_all() -> None:
    from airflow.configuration import retrieve_configuration_description

    options = retrieve_configuration_description()["database"]["options"]
    of_each = sum(int(options[f"sql_alchemy_{name}"]["default"]) for name in ("pool_size", "max_overflow"))
    command = SERVICES["postgres"]["command"]
    assert command[:2] == ["postgres", "-c"]
    name, _, value = command[2].partition("=")
    assert name == "max_connections"
    # An API server has a second pool; the image's own three are for administrators.
    assert int(value) >= 3 + of_each * (3 * len(SCALABLE) + 3)


def test_a_worker_that_is_stopped_may_end_its_tasks() -> None:
    assert re.fullmatch(r"\d+m", AIRFLOW["airflow-worker"]["stop_grace_period"])
    assert AIRFLOW["airflow-worker"]["environment"]["DUMB_INIT_SETSID"] == "0"


@pytest.mark.parametrize("file", ["README.md", "docker-compose.yaml"])
def test_what_is_said_of_scale_can_be_done(file: str) -> None:
    told = re.findall(r"--scale (\S+)=(\d+)", (ROOT / file).read_text(encoding="utf-8"))
    assert told
    for name, number in told:
        assert name in SCALABLE
        assert int(number) <= 4


# --- Secrets ----------------------------------------------------------------------------------------------------------


@service_names()
def test_environment_holds_no_secret(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|KEY|TOKEN|CONN(?!ECTION)|BROKER|BACKEND", variable):
            assert variable.endswith(("_CMD", "_FILE")), f"{variable} is written out"
            assert "/secrets/" in value


def test_no_literal_looks_like_a_secret() -> None:
    text = FILE.read_text(encoding="utf-8") + DOCKERFILE
    assert not re.search(r"://[^/\s:]*:[^/\s@]+@", text), "a password in a URL"
    for word in re.findall(r"[\w+/-]{24,}", text):
        assert "/" in word or not re.search(r"\d\D*\d\D*\d", word), word


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return load(ROOT / "docker" / "make_secrets.py")


@pytest.fixture
def secrets(maker: ModuleType, tmp_path: Path) -> Path:
    maker.make(tmp_path)
    return tmp_path


def test_secrets_are_random_and_made_once(maker: ModuleType, secrets: Path, tmp_path_factory: Any) -> None:
    first = {path.name: path.read_text() for path in secrets.iterdir()}
    maker.make(secrets)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == first
    other = tmp_path_factory.mktemp("other")
    maker.make(other)
    assert {path.name for path in other.iterdir()} == first.keys()
    assert not set(first.values()) & {path.read_text() for path in other.iterdir()}
    for path in secrets.iterdir():
        # Databases read them as users of their own.
        assert path.stat().st_mode & stat.S_IROTH


def test_a_lost_file_is_made_again_from_the_same_secrets(maker: ModuleType, secrets: Path) -> None:
    before = (secrets / "connections.json").read_text()
    (secrets / "connections.json").unlink()
    maker.make(secrets)
    assert (secrets / "connections.json").read_text() == before


@service_names()
def test_files_that_are_read_are_made(name: str, secrets: Path) -> None:
    service = SERVICES[name]
    targets = [mount.split(":")[1] for mount in service["volumes"] if mount.startswith("secrets:")]
    read = re.findall(r"(/[\w/]*secrets)/([\w.]+)", json.dumps(service))
    assert {directory for directory, _ in read} <= set(targets)
    for _, file in read:
        assert (secrets / file).is_file(), file


def test_fernet_key_and_urls_are_what_airflow_takes(secrets: Path) -> None:
    from cryptography.fernet import Fernet
    from sqlalchemy.engine import make_url

    Fernet((secrets / "fernet_key").read_text())
    database = make_url((secrets / "sql_alchemy_conn").read_text())
    assert SERVICES[str(database.host)]["environment"]["POSTGRES_DB"] == database.database
    assert SERVICES[str(database.host)]["environment"]["POSTGRES_USER"] == database.username
    assert database.password == (secrets / "postgres_password").read_text()
    broker = urlsplit((secrets / "broker_url").read_text())
    assert broker.hostname in SERVICES
    assert broker.password == (secrets / "redis_password").read_text()
    users = AIRFLOW["airflow-api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    passwords = json.loads((secrets / "simple_auth_manager_passwords.json").read_text())
    assert passwords == {users.split(":")[0]: (secrets / "admin_password").read_text()}


def test_connections_lead_to_the_services(secrets: Path) -> None:
    from airflow.secrets.local_filesystem import load_connections_dict

    from airflow_provider_achieveit.hooks.achieveit import AchieveItHook

    connections = load_connections_dict(str(secrets / "connections.json"))
    assert connections.keys() == {AchieveItHook.default_conn_name, "warehouse"}

    warehouse = connections["warehouse"]
    assert json.loads((secrets / "warehouse_connection").read_text())["password"] == warehouse.password
    environment = SERVICES[str(warehouse.host)]["environment"]
    assert (warehouse.schema, warehouse.login) == (environment["POSTGRES_DB"], environment["POSTGRES_USER"])
    assert warehouse.password == (secrets / environment["POSTGRES_PASSWORD_FILE"].rpartition("/")[2]).read_text()

    achieveit = connections[AchieveItHook.default_conn_name]
    url, options = urlsplit(str(achieveit.host)), simulator_options()
    assert achieveit.conn_type == AchieveItHook.conn_type
    assert (url.scheme, url.port, url.hostname) == ("https", options.port, "simulator")
    assert options.tls_name == [url.hostname]
    assert achieveit.extra_dejson == {"verify": str(options.ca_file)}
    assert options.api_key == "$(cat /opt/achieveit/secrets/achieveit_api_key)"
    assert achieveit.password == (secrets / "achieveit_api_key").read_text()


# --- Commands ---------------------------------------------------------------------------------------------------------


def simulator_options() -> argparse.Namespace:
    """The simulator's command line, read by its own parser."""
    from airflow_provider_achieveit.simulator.__main__ import _parser

    service = SERVICES["simulator"]
    assert service["entrypoint"] == ["bash", "-c"]
    (line,) = service["command"]
    words = shlex.split(line.replace("$$", "$"))
    assert words[:4] == ["exec", "python", "-m", "airflow_provider_achieveit.simulator"]
    return _parser().parse_args(words[4:])


def test_simulator_listens_where_it_is_looked_for() -> None:
    options = simulator_options()
    assert (options.host, options.tls) == ("0.0.0.0", True)
    assert SERVICES["simulator"]["ports"] == [f"127.0.0.1:{options.port}:{options.port}"]
    check = SERVICES["simulator"]["healthcheck"]["test"]
    assert check[-1].startswith(f"https://localhost:{options.port}/")
    assert check[check.index("--cacert") + 1] == str(options.ca_file)
    targets = [mount.split(":")[1] for mount in SERVICES["simulator"]["volumes"]]
    assert {str(options.ca_file.parent), str(options.state.parent)} <= set(targets)
    for name in AIRFLOW:
        assert f"ca:{options.ca_file.parent}:ro" in AIRFLOW[name]["volumes"]


def airflow_commands() -> Iterator[Any]:
    """Every command line of Airflow in the file, as words after ``airflow``."""
    for name, service in AIRFLOW.items():
        command = service["command"]
        if command[0] == "bash":
            for line in command[2].split("&&"):
                if line.split()[0] == "airflow":
                    yield pytest.param(shlex.split(line)[1:], id=line.strip())
        else:
            yield pytest.param(command, id=name, marks=[needs_celery] if command[0] == "celery" else [])
        check = service.get("healthcheck", {}).get("test", [])
        if check[1:2] == ["airflow"]:
            yield pytest.param(check[2:], id=f"{name}: {' '.join(check[2:])}")


@needs_airflow_of_compose
@pytest.mark.parametrize("words", list(airflow_commands()))
def test_airflow_knows_the_command(words: list[str]) -> None:
    from airflow.cli.cli_parser import get_parser

    assert callable(get_parser().parse_args(words).func)


def test_init_prepares_both_databases() -> None:
    lines = [line.split() for line in SERVICES["airflow-init"]["command"][2].split("&&")]
    assert [line[:3] for line in lines[:2]] == [["airflow", "db", "migrate"], ["airflow", "connections", "import"]]
    assert " ".join(lines[2]) == f'export AIRFLOW_CONN_WAREHOUSE="$$(cat {SECRETS}/warehouse_connection)"'
    assert lines[3] == ["python", "/opt/achieveit/fill_warehouse.py", "--conn-id", "warehouse"]
    assert "fill_warehouse.py" in DOCKERFILE
    options = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fill_warehouse.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--conn-id" in options.stdout


@needs_airflow_of_compose
@needs_celery
def test_worker_is_asked_through_the_app_that_it_runs() -> None:
    from airflow.providers.celery.executors import celery_executor

    line = AIRFLOW["airflow-worker"]["healthcheck"]["test"][1]
    module, _, attribute = line.split()[2].rpartition(".")
    assert module == celery_executor.__name__
    assert hasattr(celery_executor, attribute)


# --- Airflow's settings -----------------------------------------------------------------------------------------------


def settings() -> list[str]:
    return sorted({name for service in AIRFLOW.values() for name in service.get("environment", {}) if "__" in name})


@needs_airflow_of_compose
@pytest.mark.parametrize(
    "variable", [pytest.param(v, marks=[needs_celery] if "__CELERY__" in v else []) for v in settings()]
)
def test_airflow_has_the_setting(variable: str) -> None:
    from airflow.configuration import retrieve_configuration_description

    _, section, option = variable.lower().split("__", 2)
    options = retrieve_configuration_description()[section]["options"]
    plain = option.removesuffix("_cmd")
    assert plain in options
    if plain != option:
        assert options[plain]["sensitive"], f"Airflow does not run a command for {plain}"


def test_components_find_the_api_server() -> None:
    environment = AIRFLOW["airflow-worker"]["environment"]
    url = urlsplit(environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
    assert url.hostname in SERVICES
    assert SERVICES[str(url.hostname)]["ports"] == [f"127.0.0.1:8080-8083:{url.port}"]
    assert url.path == "/execution/"


@needs_airflow_of_compose
def test_airflow_reads_a_secret_from_its_file(secrets: Path, tmp_path: Path) -> None:
    """The commands give exactly the files' contents, in an Airflow process of its own."""
    environment = {
        name: value.replace(SECRETS, str(secrets))
        for name, value in AIRFLOW["airflow-scheduler"]["environment"].items()
        if name.endswith("_CMD") and "__CELERY__" not in name
    }
    code = (
        "from airflow.configuration import conf\n"
        "for section, option in [('core', 'fernet_key'), ('api', 'secret_key'), ('api_auth', 'jwt_secret')]:\n"
        "    print(repr(conf.get(section, option)))\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    # The database is not there: only what needs none is asked for.
    environment.pop("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment | {"AIRFLOW_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = [repr((secrets / name).read_text()) for name in ("fernet_key", "api_secret_key", "jwt_secret")]
    assert done.stdout.split() == wanted


# --- The image --------------------------------------------------------------------------------------------------------


def test_image_holds_the_locked_airflow() -> None:
    version, python = re.search(r"^FROM apache/airflow:([\d.]+)-python([\d.]+)$", DOCKERFILE, re.M).groups()  # type: ignore[union-attr]
    lock = ROOT / "constraints" / f"py{python}.txt"
    assert f"constraints/{lock.name}" in DOCKERFILE
    assert f"apache-airflow=={version}" in lock.read_text(encoding="utf-8").splitlines()
    assert f"apache-airflow=={version}" in (ROOT / "constraints" / "lock.in").read_text(encoding="utf-8").splitlines()
    for service in OURS.values():
        assert service["image"].endswith(f"-airflow{version}")


def test_image_is_built_from_what_is_there() -> None:
    build = SERVICES["secrets"]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    assert [name for name, service in SERVICES.items() if "build" in service] == ["secrets"]
    sent = (ROOT / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", DOCKERFILE, re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert any(f"!{source}".startswith(entry) for entry in sent if entry.startswith("!")), source


def test_directories_of_the_volumes_belong_to_airflow() -> None:
    (made,) = re.findall(r"install -d -o airflow (.+)", DOCKERFILE)
    mounted = {mount.split(":")[1] for service in OURS.values() for mount in service["volumes"]}
    assert {target for target in mounted if target.startswith("/opt/achieveit/")} <= set(made.split())


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
