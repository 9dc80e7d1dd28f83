"""docker/: what can be said of the images and the stack without building them."""

import asyncio
import base64
import configparser
import fnmatch
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect.workers.base import BaseJobConfiguration

from engine_adapters import ADAPTERS
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.requests import CONTROL_POOL, MEASURING_POOL
from experiments.schema.variant import Quantization, Variant
from flows import stack_services
from flows.deploying import FILE, TEMPLATES, deployment_file, job_template
from flows.hosts import HOST_PREFIX
from tasks.serving.image_lock import LockedImage, read_lock
from tasks.serving.image_reference import ImageReference

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
FLOATING = ("latest", "stable", "nightly")
PASSWORDS = {
    name: f"DYNO_{name.upper()}_PASSWORD" for name in ("postgres", "redis", "prefect", "mlflow", "mlflow_cookies")
}
PASSED_ON = {"HF_TOKEN", "PIP_INDEX_URL"}
"""Those of the shell that starts the stack, or none."""


def variables(value: object) -> set[str]:
    """All `${…}` in a piece of the file."""
    if isinstance(value, dict):
        return set().union(*map(variables, value.values()))
    if isinstance(value, list):
        return set().union(*map(variables, value))
    return set(re.findall(r"\$\{([^}]*)\}", value)) if isinstance(value, str) else set()


@pytest.fixture
def stack(tmp_path: Path) -> stack_services.Stack:
    """`dyno stack` on the services' own ports, its passwords written as the compose file's variables."""
    passwords = {name: f"${{{variable}}}" for name, variable in PASSWORDS.items()}
    ports = stack_services.Ports(postgres=5432, redis=6379, prefect=4200, mlflow=5000)
    return stack_services.Stack(tmp_path, ports, stack_services.Passwords(**passwords))


def in_compose(value: str) -> str:
    """The same with services called by their names and not by their ports on loopback."""
    for port, name in {5432: "postgres", 6379: "redis", 4200: "prefect", 5000: "mlflow"}.items():
        value = value.replace(f"127.0.0.1:{port}", f"{name}:{port}")
    return value


def environment(name: str) -> dict[str, str]:
    """What a service is told, without what the compose file says where a password is missing."""
    told = SERVICES[name]["environment"].items()
    return {key: re.sub(r":\?[^}]*", "", value) for key, value in told if key not in PASSED_ON}


def image_environment() -> set[str]:
    """The names that the images of worker.Dockerfile set."""
    text = (DOCKER / "worker.Dockerfile").read_text().replace("\\\n", "")
    *_, line = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    return set(re.findall(r"(\w+)=", line))


def test_the_stack_is_the_servers_the_deployments_and_a_worker_for_each_of_their_pools() -> None:
    assert set(SERVICES) == {"postgres", "redis", "prefect", "mlflow", "deploy", "worker", "control"}
    asked = {one["work_pool"]["name"] for one in deployment_file([])["deployments"]}
    commands = {name: SERVICES[name]["command"] for name in ("worker", "control")}
    assert all(command[0] == "worker" for command in commands.values())
    assert asked == {CONTROL_POOL if "--control" in command else MEASURING_POOL for command in commands.values()}


def test_workers_start_when_everything_is_registered_and_keep_stores_of_their_own() -> None:
    assert SERVICES["deploy"]["command"] == ["deploy"]
    for name in ("worker", "control"):
        assert SERVICES[name]["depends_on"]["deploy"] == {"condition": "service_completed_successfully"}
        assert SERVICES[name]["environment"]["DYNO_HOME"] == "/data"
    stores = [volume for name in ("worker", "control") for volume in SERVICES[name]["volumes"]]
    assert len(set(stores)) == 2
    assert all(volume.endswith(":/data") for volume in stores)


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [("prefect", "PREFECT_HOME"), ("mlflow", "MLFLOW_AUTH_CONFIG_PATH")],
    ids=["prefect", "mlflow"],
)
def test_a_server_is_told_what_dyno_stack_tells_it(name: str, elsewhere: str, stack: stack_services.Stack) -> None:
    """Its files lie elsewhere in a container, and telemetry is off by the image."""
    quiet = set(stack_services.telemetry_off())
    assert quiet <= image_environment()
    started = {
        key: value if key == "PREFECT_UI_API_URL" else in_compose(value)  # a browser is no container
        for key, value in getattr(stack_services, name)(stack).env.items()
        if key.startswith(("PREFECT_", "MLFLOW_")) and key not in quiet
    }
    told = environment(name)
    assert len(started) > 5
    assert {**told, elsewhere: started[elsewhere]} == started | (
        {"PGPASSWORD": stack.passwords.postgres} if name == "mlflow" else {}
    )


def test_clients_are_told_what_dyno_stack_tells_them(stack: stack_services.Stack) -> None:
    wanted = {key: in_compose(value) for key, value in stack.client_environment().items()}
    assert environment("deploy") == wanted
    for name in ("worker", "control"):
        assert {**environment(name), **wanted} == environment(name)


def test_mlflow_runs_with_the_options_of_dyno_stack(stack: stack_services.Stack) -> None:
    flags = {word for word in stack_services.mlflow(stack).argv if word.startswith("--")}
    command = SERVICES["mlflow"]["command"]
    assert {word for word in command if word.startswith("--")} == flags | {"--allowed-hosts"}
    assert command[command.index("--app-name") + 1] == "basic-auth"


def test_mlflow_knows_its_users_as_in_dyno_stack_and_the_file_holds_no_password(stack: stack_services.Stack) -> None:
    stack_services.mlflow(stack)
    bound = next(one for one in SERVICES["mlflow"]["volumes"] if isinstance(one, dict))
    assert bound["target"] == SERVICES["mlflow"]["environment"]["MLFLOW_AUTH_CONFIG_PATH"]
    ours, theirs = configparser.ConfigParser(), configparser.ConfigParser(interpolation=None)
    ours.read(DOCKER / bound["source"])
    theirs.read(stack.folder / "mlflow_auth.ini")
    without = in_compose(theirs["mlflow"]["database_uri"]).replace(f":{stack.passwords.postgres}@", "@")
    assert dict(ours["mlflow"]) == {**theirs["mlflow"], "database_uri": without}
    assert ours["mlflow"]["default_permission"] == "NO_PERMISSIONS"


def test_every_database_is_made() -> None:
    made = re.findall(r"^CREATE DATABASE (\w+)", (DOCKER / "create-databases.sql").read_text(), re.MULTILINE)
    assert {SERVICES["postgres"]["environment"]["POSTGRES_DB"], *made} == set(stack_services.DATABASES)


class Pools(BaseHTTPRequestHandler):
    """Prefect's answer to who works for a pool."""

    workers: list[dict[str, str]]
    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        body = json.dumps(self.workers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def pools() -> Iterator[tuple[str, type[Pools]]]:
    handler = type("Asked", (Pools,), {"workers": [], "asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api", handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["worker", "control"])
def test_a_worker_is_well_while_prefect_hears_from_it(name: str, pools: tuple[str, type[Pools]]) -> None:
    url, prefect = pools
    command = SERVICES[name]["command"]
    is_control = "--control" in command
    worker = ("control-" if is_control else HOST_PREFIX) + command[command.index("--name") + 1]
    _, _, *check = SERVICES[name]["healthcheck"]["test"]
    env = os.environ | {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": "admin:sesame", "NO_PROXY": "*"}

    def is_well(*workers: tuple[str, str]) -> bool:
        prefect.workers = [{"name": one, "status": status} for one, status in workers]
        return not subprocess.run([sys.executable, *check], env=env, check=False, capture_output=True).returncode

    assert is_well(("another", "OFFLINE"), (worker, "ONLINE"))
    assert not is_well(("another", "ONLINE"), (worker, "OFFLINE"))
    assert not is_well()
    known = base64.b64encode(b"admin:sesame").decode()
    pool = CONTROL_POOL if is_control else MEASURING_POOL
    assert set(prefect.asked) == {(f"/api/work_pools/{pool}/workers/filter", f"Basic {known}")}


@pytest.mark.skipif("DYNO_COMPOSE_SCHEMA" not in os.environ, reason="make check-compose gives it the schema, from npm")
def test_the_stack_is_what_the_compose_specification_allows() -> None:
    import jsonschema  # type: ignore[import-untyped]

    schema = json.loads(Path(os.environ["DYNO_COMPOSE_SCHEMA"]).read_text())
    # `name` came into the specification after this edition of its schema, the newest one that a package index has.
    plain = {name: value for name, value in COMPOSE.items() if name != "name" and not name.startswith("x-")}
    found = jsonschema.Draft7Validator(schema).iter_errors(plain)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in found] == []
    broken = plain | {"services": {"a": {"image": "a", "ports": "8000"}}}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(broken))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_when_it_is_well_and_runs_without_privileges(name: str) -> None:
    service = SERVICES[name]
    ends = service["restart"] != "unless-stopped"
    assert ends == (name == "deploy")
    assert ends or service["healthcheck"]["test"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
    for other, condition in service.get("depends_on", {}).items():
        other_ends = SERVICES[other]["restart"] != "unless-stopped"
        wanted = "service_completed_successfully" if other_ends else "service_healthy"
        assert condition == {"condition": wanted}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", ()))


def test_a_password_has_no_default() -> None:
    asked = variables(COMPOSE)
    assert {text.split(":?")[0] for text in asked} == set(PASSWORDS.values())
    assert all(":?" in text for text in asked)
    public = {"MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_CONFIG_PATH"}
    for name in SERVICES:
        for key, value in SERVICES[name].get("environment", {}).items():
            if key not in public and re.search("PASSWORD|AUTH|SECRET", key):
                assert variables(value), f"{name}: {key} is written out"
            assert value is not None or key in PASSED_ON


def test_no_password_is_on_a_command_line() -> None:
    """`docker inspect` and every list of processes show those."""
    for service in SERVICES.values():
        assert not variables([service.get(what, "") for what in ("command", "entrypoint", "healthcheck")])


def test_every_named_volume_and_bound_file_is_there() -> None:
    named = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if isinstance(volume, dict):
                assert (DOCKER / volume["source"]).exists()
                assert volume["read_only"] is True
            else:
                named.add(volume.partition(":")[0])
    assert named == set(COMPOSE["volumes"])


def test_what_is_pulled_and_what_is_built_is_a_named_release() -> None:
    for service in SERVICES.values():
        if "build" in service:
            file = (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).resolve()
            assert f"AS {service['build']['target']}\n" in file.read_text()
        else:
            assert ImageReference.parse(service["image"]).tag not in FLOATING
    for file in DOCKERFILES:
        (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", file.read_text(), re.MULTILINE)
        assert ImageReference.parse(base).tag not in FLOATING


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_an_image_is_built_from_hashes_and_runs_as_nobody_special(file: Path) -> None:
    text = file.read_text()
    stages = re.findall(r"^FROM (?:\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    assert len(stages) > 1
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["dyno"]
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


def test_the_worker_image_holds_what_dyno_deploy_and_dyno_worker_read() -> None:
    text = (DOCKER / "worker.Dockerfile").read_text()
    copied = {name for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in names.split()}
    needed = {str(file.relative_to(ROOT)) for file in (FILE, *TEMPLATES.glob("*-pool.json"))}
    needed |= {one["entrypoint"].split(".")[0] for one in deployment_file([])["deployments"]}
    assert needed | {"experiments", "docker/images.lock"} <= copied
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all(any(fnmatch.fnmatch(name, f"{one}*") for one in let_in) for name in copied)
    assert text.endswith('ENTRYPOINT ["dyno"]\nCMD ["--help"]\n')


def job_environment(kind: Any) -> dict[str, str]:
    """Of a measure-variant run in a pool of ours, as Prefect's own worker makes it."""
    measure = next(one for one in deployment_file([])["deployments"] if one["name"] == "measure-variant")
    configuration: Any = BaseJobConfiguration  # its decorators hide what it returns
    variables = measure["work_pool"]["job_variables"]
    job = asyncio.run(configuration.from_template_and_values(job_template(kind), variables, client=object()))
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:sesame"}):
        job.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), name="r", flow_id=uuid.uuid4()))
    return cast(dict[str, str], job.env)


def test_a_job_in_docker_has_mlflow_and_its_host_from_the_environment_of_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": "open-sesame",
        "DYNO_HOST": "gpu-1",
    }
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    found = job_environment("docker")
    assert {**found, **wanted, "PREFECT_API_AUTH_STRING": "admin:sesame"} == found
    assert found["PREFECT_LOGGING_EXTRA_LOGGERS"] == "dyno", "what the deployment sets is there too"


def test_a_job_in_kubernetes_has_its_passwords_from_a_secret_and_none_in_its_manifest() -> None:
    found = job_environment("kubernetes")
    assert found["PREFECT_LOGGING_EXTRA_LOGGERS"] == "dyno"
    assert "sesame" not in json.dumps(found)
    template = job_template("kubernetes")
    (container,) = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "{{ client_secret }}"}}]
    assert template["variables"]["properties"]["client_secret"]["default"] == "dyno-client"


@pytest.mark.parametrize("file", sorted(DOCKER.glob("*.lock")), ids=lambda file: file.name)
def test_a_lock_agrees_with_the_projects_own(file: Path) -> None:
    if file.name == "images.lock":
        assert all(image.digest or image.reason for image in read_lock(file))
        return
    pin = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)  # httpx[http2]==1.0 pins httpx
    pins, ours = pin.findall(file.read_text()), pin.findall((ROOT / "requirements" / "runtime.lock").read_text())
    new = {"prefect-redis", "psycopg2-binary"}
    assert pins
    assert [pin for pin in pins if pin not in ours and pin[0] not in new] == []
    assert all("--hash=sha256:" in block for block in file.read_text().split("\n\n") if "==" in block)


def test_images_are_locked_once_each_and_by_tag() -> None:
    images = read_lock(DOCKER / "images.lock")
    references = [ImageReference.parse(image.reference) for image in images]
    assert len(set(references)) == len(references) == 5
    assert all(not reference.digest and reference.tag not in FLOATING for reference in references)


@pytest.mark.parametrize("image", read_lock(DOCKER / "images.lock"), ids=lambda image: image.engine)
def test_a_locked_image_is_the_one_that_the_engine_is_started_from(image: LockedImage) -> None:
    model = Model(name="m", source=SyntheticSource(kind="synthetic"))
    variant = Variant(
        engine=image.engine,
        engine_version=image.version,
        model=model,
        quantization=Quantization.BF16,
        runtime="container",
        hardware="h100-sxm",
    )
    spec = ADAPTERS[image.engine].launch_spec(variant)
    assert ImageReference.parse(spec.image) == ImageReference.parse(image.reference)
