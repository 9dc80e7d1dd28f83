"""What `dyno deploy` registers with a Prefect server: pools, deployments, automations, limits, variables."""

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from experiments.errors import InputError, SetupError
from experiments.redaction import without_password
from experiments.schema.requests import CONTROL_POOL, MEASURING_POOL
from flows.automations import automations, registered
from flows.fan_out import MEASURE
from flows.fleet import EXPERIMENTS, experiment_file
from flows.hosts import ensure_limit, gpu_limit

ROOT = Path(__file__).parents[1]
FILE = ROOT / "prefect.yaml"
TEMPLATES = ROOT / "docker"
FIRST_EXPERIMENTS = ["release_check", "quickstart"]
"""Until a person names others: what is over in minutes comes first."""

DEPLOYED = "dyno_deployed"
"""The Prefect variable that holds a hash of what was deployed last: the same is not deployed twice."""

PoolType = Literal["process", "docker", "kubernetes"]


def deploy_all(
    *,
    pools: Mapping[str, PoolType],
    hosts: Mapping[str, int],
    experiments: Sequence[str],
    notify: str,
    secrets: Mapping[str, str],
) -> dict[str, Any]:
    """Registers what is missing and changes what differs; what is the same stays. `pools` are further ones to measure
    in, `hosts` GPUs by host, `notify` TYPE/NAME of a notification block, `secrets` Secret blocks by the environment
    variable of runs that they become. Raises InputError, SetupError."""
    wanted: dict[str, PoolType] = {MEASURING_POOL: "process", CONTROL_POOL: "process", **pools}
    for name in experiments:
        experiment_file(name)
    with get_client(sync_client=True) as client:
        block = _block(client, "--notify", notify).id if notify else None
        env = {name: _reference(client, name, secret) for name, secret in secrets.items()}
        made = [{"name": name, "type": kind, "change": _pool(client, name, kind, env)} for name, kind in wanted.items()]
        before = {row["name"] for row in deployment_rows(client)}
        change = _deployments(client, sorted(set(pools) - {MEASURING_POOL, CONTROL_POOL}))
        changes = [{"name": one.name, "change": registered(client, one)} for one in automations(block)]
        limits = [gpu_limit(host, index) for host, count in hosts.items() for index in range(count)]
        return {
            "server": without_password(str(client.api_url)),
            "pools": made,
            "deployments": [
                row | {"change": change if row["name"] in before else "made"} for row in deployment_rows(client)
            ],
            "automations": changes,
            "limits": [{"name": name, "change": "made" if ensure_limit(name) else "unchanged"} for name in limits],
            "variables": [{"name": EXPERIMENTS, "change": _experiments(experiments)}],
        }


def deployment_rows(client: SyncPrefectClient) -> list[dict[str, Any]]:
    """Ours, as the server has them."""
    found = [one for one in client.read_deployments() if "dyno" in one.tags]
    return [
        {
            "name": one.name,
            "id": str(one.id),
            "pool": one.work_pool_name,
            "schedules": [getattr(one_schedule.schedule, "cron", "") for one_schedule in one.schedules],
        }
        for one in sorted(found, key=lambda one: one.name)
    ]


def deployment_file(pools: Sequence[str]) -> dict[str, Any]:
    """prefect.yaml, with one more `measure-variant` for each further pool."""
    body = cast(dict[str, Any], yaml.safe_load(FILE.read_text(encoding="utf-8")))
    measure = next(one for one in body["deployments"] if one["name"] == MEASURE)
    for pool in pools:
        more = copy.deepcopy(measure) | {"name": f"{MEASURE}-{pool}"}
        more["work_pool"]["name"] = pool
        body["deployments"].append(more)
    return body


def _deployments(client: SyncPrefectClient, pools: Sequence[str]) -> str:
    there = {one["name"] for one in deployment_rows(client)}
    pools = sorted({*pools, *(name.removeprefix(f"{MEASURE}-") for name in there if name.startswith(f"{MEASURE}-"))})
    body = deployment_file(pools)
    found = _hash(body)
    names = {one["name"] for one in body["deployments"]}
    triggers = [trigger["name"] for one in body["deployments"] for trigger in one.get("triggers", [])]
    has_all = names <= there and all(client.read_automations_by_name(name) for name in triggers)
    if has_all and Variable.get(DEPLOYED, "") == found:
        return "unchanged"
    _prefect_deploy(body)
    Variable.set(DEPLOYED, found, overwrite=True)
    return "changed"


def _hash(body: dict[str, Any]) -> str:
    """Of the file, and of the sources that the forms are made of."""
    sources = [*sorted((ROOT / "flows").glob("*.py")), *sorted((ROOT / "experiments" / "schema").glob("*.py"))]
    found = hashlib.sha256(json.dumps(body, sort_keys=True).encode())
    for source in sources:
        found.update(source.read_bytes())
    return found.hexdigest()


def _prefect_deploy(body: dict[str, Any]) -> None:
    """By Prefect's own command, so that the file means to us what it means to Prefect."""
    with tempfile.TemporaryDirectory(prefix="dyno-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PREFECT_LOGGING_LEVEL": "ERROR"},
        )
    if ran.returncode:
        raise SetupError(
            "prefect deploy did not succeed", log_excerpt="\n".join((ran.stdout + ran.stderr).split("\n")[-15:])
        )


def job_template(kind: PoolType) -> dict[str, Any]:
    """Of a pool's jobs: Prefect's own for processes; ours, below docker/, for containers and Kubernetes."""
    if kind == "process":
        return ProcessWorker.get_default_base_job_template()
    return cast(dict[str, Any], json.loads((TEMPLATES / f"{kind}-pool.json").read_text(encoding="utf-8")))


def _pool(client: SyncPrefectClient, name: str, kind: PoolType, env: Mapping[str, str]) -> str:
    try:
        there = client.read_work_pool(name)
    except ObjectNotFound:
        template = with_environment(job_template(kind), env)
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        return "made"
    if there.type != kind:
        raise InputError(f"the work pool {name} is there, of type {there.type} and not {kind}: give another name")
    template = with_environment(there.base_job_template, env)
    if template == there.base_job_template:
        return "unchanged"
    client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return "changed"


def with_environment(template: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """A job template whose runs have these variables too. In the pool a reference to a block stays one until a worker
    starts a run; in a deployment `prefect deploy` would put the secret itself into the database."""
    found = copy.deepcopy(dict(template))
    if env:
        asked = found["variables"]["properties"]["env"]
        asked["default"] = (asked.get("default") or {}) | dict(env)
    return found


def _reference(client: SyncPrefectClient, variable: str, secret: str) -> str:
    _block(client, f"--secret {variable}", f"secret/{secret}")
    return f"{{{{ prefect.blocks.secret.{secret} }}}}"


def _block(client: SyncPrefectClient, option: str, text: str) -> BlockDocument:
    kind, _, name = text.partition("/")
    try:
        if not name:
            raise ObjectNotFound(ValueError(text))
        return client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        hint = "write TYPE/NAME, as slack-webhook/team" if kind != "secret" else "make it in Prefect's UI under Blocks"
        raise InputError(f"{option}: Prefect has no block {text}; {hint}") from None


def _experiments(names: Sequence[str]) -> str:
    there = Variable.get(EXPERIMENTS)
    if there is not None and (not names or list(cast(list[str], there)) == list(names)):
        return "unchanged"
    Variable.set(EXPERIMENTS, list(names) or FIRST_EXPERIMENTS, overwrite=True)
    return "made" if there is None else "changed"
