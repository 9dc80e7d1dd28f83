"""prefect.yaml: its deployments, held against what Prefect reads. Prefect ignores keys that it does not know."""

import asyncio
import importlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.events import DeploymentTriggerTypes
from prefect.server.schemas.schedules import CronSchedule
from prefect.utilities.callables import parameter_schema
from pydantic import TypeAdapter

from experiments.schema.requests import CONTROL_POOL, MEASURING_POOL
from flows.automations import SILENT
from flows.deploying import deployment_file, job_template
from flows.fleet import HEARTBEAT_S, TAG

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {one["name"]: one for one in FILE["deployments"]}
KNOWN = {
    "name", "description", "entrypoint", "parameters", "tags", "concurrency_limit", "enforce_parameter_schema",
    "schedules", "triggers", "work_pool",
}  # fmt: skip


def flow_of(name: str) -> Flow[Any, Any]:
    module, _, function = str(DEPLOYMENTS[name]["entrypoint"]).rpartition(".")
    found = getattr(importlib.import_module(module), function)
    assert isinstance(found, Flow)
    return found


def test_the_deployments_of_a_fleet_are_there_and_each_key_is_one_that_prefect_reads() -> None:
    assert set(DEPLOYMENTS) == {
        "watch-releases", "engine-release", "full-matrix", "retry-failed", "measure-variant", "check-flags", "publish",
    }  # fmt: skip
    for one in DEPLOYMENTS.values():
        assert set(one) <= KNOWN


def test_the_runs_of_every_deployment_send_heartbeats_to_the_automation_that_minds_them() -> None:
    for one in DEPLOYMENTS.values():
        assert TAG in one["tags"]
        told = one["work_pool"]["job_variables"]["env"]
        assert told["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_S)
    assert timedelta(seconds=3 * HEARTBEAT_S) < SILENT


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_every_parameter_is_a_model_whose_fields_have_descriptions(name: str) -> None:
    schema = parameter_schema(flow_of(name))
    asked = {field.get("$ref", field.get("allOf", [{}])[0].get("$ref")) for field in schema.properties.values()}
    models = {ref.rpartition("/")[2] for ref in asked if ref}
    assert len(models) == len(schema.properties), "each parameter is a pydantic model"
    for model in models & {definition for definition in schema.definitions if definition.endswith("Request")}:
        for field, said in schema.definitions[model]["properties"].items():
            assert said.get("description"), f"{model}.{field}"
    given = DEPLOYMENTS[name].get("parameters", {})
    if set(schema.required) <= set(given):
        flow_of(name).validate_parameters(given)


def test_what_waits_for_the_measuring_pool_does_not_hold_a_slot_of_it() -> None:
    pools = {name: one["work_pool"]["name"] for name, one in DEPLOYMENTS.items()}
    assert {name for name, pool in pools.items() if pool == MEASURING_POOL} == {
        "engine-release", "measure-variant", "publish",
    }  # fmt: skip
    assert set(pools.values()) == {MEASURING_POOL, CONTROL_POOL}


def test_schedules_are_hourly_daily_and_weekly() -> None:
    crons = {name: [s["cron"] for s in one.get("schedules", [])] for name, one in DEPLOYMENTS.items()}
    seconds = {name: interval_s(found[0]) for name, found in crons.items() if found}
    assert seconds == {
        "watch-releases": 3600, "retry-failed": 86400, "full-matrix": 7 * 86400, "check-flags": 7 * 86400,
    }  # fmt: skip


def interval_s(cron: str) -> float:
    """Between the first two times, as Prefect reads them."""
    start = datetime(2026, 11, 21, tzinfo=UTC)
    first, second = asyncio.run(CronSchedule(cron=cron, timezone="UTC").get_dates(2, start=start))
    return float((second - first).total_seconds())


def test_the_event_of_a_release_gives_engine_release_what_it_asks_for() -> None:
    (trigger,) = DEPLOYMENTS["engine-release"]["triggers"]
    read: Any = TypeAdapter(DeploymentTriggerTypes).validate_python(trigger)
    assert read.expect == {"dyno.engine.released"}
    asked = {key: f"<{key}>" for key in trigger["parameters"]["request"]}
    flow_of("engine-release").validate_parameters({"request": asked})
    assert trigger["parameters"]["request"] == {key: f"{{{{ event.payload.{key} }}}}" for key in asked}


def test_a_further_pool_has_a_deployment_of_its_own_that_measures() -> None:
    found = {one["name"]: one for one in deployment_file(["h100"])["deployments"]}
    assert found["measure-variant-h100"]["work_pool"]["name"] == "h100"
    assert found["measure-variant"]["work_pool"]["name"] == MEASURING_POOL


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_a_job_template_names_only_variables_that_it_declares(kind: Any) -> None:
    template = job_template(kind)
    declared = template["variables"]["properties"]
    text = json.dumps(template["job_configuration"])
    named = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
    assert named <= set(declared)
    assert {"env", "name", "labels", "command"} <= set(declared), "what every worker fills in"
