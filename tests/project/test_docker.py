"""docker/: what can be said of the images and the stack without building them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine_adapters import ADAPTERS
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.serving.image_lock import LockedImage, read_lock
from tasks.serving.image_reference import ImageReference

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
FLOATING = ("latest", "stable", "nightly")


def variables(value: object) -> set[str]:
    """All `${…}` in a piece of the file."""
    if isinstance(value, dict):
        return set().union(*map(variables, value.values()))
    if isinstance(value, list):
        return set().union(*map(variables, value))
    return set(re.findall(r"\$\{([^}]*)\}", value)) if isinstance(value, str) else set()


def test_the_stack_is_prefect_postgresql_redis_mlflow_and_a_worker() -> None:
    assert set(SERVICES) == {"postgres", "redis", "prefect", "mlflow", "worker"}


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
    assert service["healthcheck"]["test"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
    for other, condition in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert condition == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_this_machine_only(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", ()))


def test_a_password_has_no_default() -> None:
    asked = variables(COMPOSE)
    assert {text.split(":?")[0] for text in asked} == {"DYNO_POSTGRES_PASSWORD", "DYNO_REDIS_PASSWORD"}
    assert all(":?" in text for text in asked)
    for name in SERVICES:
        for key, value in SERVICES[name].get("environment", {}).items():
            if "PASSWORD" in key or "AUTH" in key:
                assert variables(value), f"{name}: {key} is written out"


def test_no_password_is_on_a_command_line() -> None:
    """`docker inspect` and every list of processes show those."""
    for service in SERVICES.values():
        assert not variables([service.get("command", ""), service.get("entrypoint", ""), service["healthcheck"]])


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
