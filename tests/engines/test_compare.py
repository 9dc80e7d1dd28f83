"""Releases compared, cells replayed and flags attributed on the real llama.cpp, by the commands as a person gives them.

A busy machine makes trials invalid, and then a verdict undecided or void: that a real difference is found needs the
machine's cores, and is skipped without them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import EXIT_MEASUREMENT
from tasks.serving.environment import Environment
from tests.fake_engine import FakeEngine
from tests.flows.test_end_to_end import Store, new_store

pytestmark = pytest.mark.engines

OLDER, NEWER = "2026.9.11063", "2026.10.11549"
EXPERIMENT = f"""
models: [{{name: tiny, source: {{kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}}}]
variants:
  - engine: llama_cpp
    engine_version: "{NEWER}"
    model: tiny
    quantization: f16
    max_model_len: 256
    max_num_seqs: 8
    cpu_threads: 1
workloads: [{{name: short, prompt_tokens: 16, output_tokens: 32}}]
load_plan: {{requests_per_point: 60, min_seconds: 1, max_seconds: 4, warm_up: {{max_seconds: 6}},
            saturation: {{max_concurrency: 8}}, open_loop: {{fractions: [0.5]}}}}
"""
FLAGGED = """max_num_seqs: 1
    extra_args: [--slots, "8", --seed, "7"]"""
LONGEST_S = 1800.0
Dyno = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, xllamacpp: Environment, environments: Path) -> Store:
    store = new_store(tmp_path_factory.mktemp("compared"), environments)
    store.write("tiny.yaml", EXPERIMENT)
    store.write("flagged.yaml", EXPERIMENT.replace("max_num_seqs: 8", FLAGGED))
    return store


@pytest.fixture(scope="module")
def dyno(store: Store) -> Dyno:
    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = store.dyno(*arguments, "--json", timeout_s=LONGEST_S)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def compare(dyno: Dyno, *arguments: str) -> tuple[int, dict[str, Any]]:
    same = ("--engine", "llama_cpp", "--experiment", "tiny.yaml", "--launches", "3", "--no-escalation")
    return dyno("compare", *same, *arguments)


def verdicts(body: dict[str, Any], metric: str) -> set[str]:
    return {cell["verdict"] for cell in body["cells"] if cell["metric"] == metric}


def skip_where_disturbed(body: dict[str, Any]) -> None:
    """Where too few trials of the ceiling are valid, the machine is too busy to show anything: the instrument says so,
    and that is no verdict to test."""
    valid = [
        (launch["system"], launch["arm"])
        for launch in body["launches"]
        for point in launch["points"].get("short", ())
        if launch["arm"] != "pilot" and point["point"]["step"] == 0 and point["summary"]["valid"]
    ]
    sides = {(launch["system"], arm) for launch in body["launches"] for arm in ("baseline", "candidate")}
    if min(map(valid.count, sides)) < 3:
        pytest.skip(f"this machine is too busy: {body['reason']}")


def test_a_release_against_itself_is_no_regression(dyno: Dyno) -> None:
    _, body = compare(dyno)
    assert body["verdict"] in ("equivalent", "undecided", "void")
    assert {launch["arm"] for launch in body["launches"]} == {"pilot", "baseline", "candidate", "canary"}


def test_two_releases_are_each_launched_and_judged(dyno: Dyno) -> None:
    _, body = compare(dyno, "--from", OLDER, "--to", NEWER, "--no-canary")
    ran = {(launch["arm"], launch["provenance"]["packages"]["xllamacpp"]) for launch in body["launches"]}
    assert ran == {("pilot", OLDER), ("baseline", OLDER), ("candidate", NEWER)}
    assert (body["from"], body["to"]) == (OLDER, NEWER)
    assert body["mlflow_run_id"]
    skip_where_disturbed(body)
    assert {cell["metric"] for cell in body["cells"]} >= {"output_tokens_per_s", "p50_ttft_ms", "first_token_s"}


def test_a_release_that_was_slowed_is_regressed(dyno: Dyno) -> None:
    status, body = compare(dyno, "--candidate-set", "max_num_seqs=1", "--no-canary", "--fail-on-regression")
    skip_where_disturbed(body)
    assert (status, body["verdict"]) == (EXIT_MEASUREMENT, "regressed")
    assert verdicts(body, "output_tokens_per_s") == {"regressed"}


ENDPOINT = """
models: [{name: tiny, source: {kind: synthetic, vocab_size: 2048, intermediate_size: 512, layers: 2}}]
variants:
  - {engine: endpoint, engine_version: "1", quantization: bf16, runtime: endpoint, model: tiny, endpoint_url: "http://x:1"}
workloads: [{name: short, prompt_tokens: 8, output_tokens: 16}]
load_plan: {requests_per_point: 40, min_seconds: 1, max_seconds: 3, warm_up: {max_seconds: 4},
            saturation: {max_concurrency: 4}}
"""


def test_a_slower_server_that_is_there_already_is_regressed_by_its_address(store: Store, dyno: Dyno) -> None:
    """The two servers are stand-ins whose gaps between tokens are scripted: 5 and 7 ms."""
    store.write("there.yaml", ENDPOINT)
    with FakeEngine() as old, FakeEngine() as new:
        old.turned_into, new.turned_into = "steady", "slower"
        urls = ("--from-url", old.url, "--to-url", new.url)
        few = ("--launches", "3", "--no-escalation", "--no-canary")
        _, body = dyno("compare", "--experiment", "there.yaml", *urls, *few)
    assert "no new start" in body["notes"][-1]
    measured = [seen.body["prompt"] for seen in old.generations if len(seen.body["prompt"]) > 12]
    prompts = [json.dumps(prompt) for prompt in measured]  # the pre-flight's own are short, and the same each visit
    assert max(map(prompts.count, prompts)) <= len(body["launches"])
    skip_where_disturbed(body)
    assert verdicts(body, "output_tokens_per_s") == {"regressed"}


def test_a_cell_is_replayed_with_the_prompts_that_it_was_measured_with(store: Store, dyno: Dyno) -> None:
    _, run = dyno("run", "tiny.yaml")
    cell_id = run["cells"][0]["cell_id"]
    _, body = dyno("replay", cell_id)
    assert body["verdict"] in ("reproduced", "not reproduced", "undecided")
    assert body["differences"] == []
    (file,) = (store.folder / "home/campaigns").glob(f"tiny/1/{cell_id}/cell.json")
    stored = json.loads(file.read_text())["points"]
    again = body["launch"]["points"]["short"]
    assert [(p["point"], p["seed"]) for p in again] == [(p["point"], p["seed"]) for p in stored]


def test_the_flag_that_gives_slots_helps(dyno: Dyno) -> None:
    options = ("--engine", "llama_cpp", "--launches", "3", "--no-escalation", "--no-canary")
    _, body = dyno("attribute", "flagged.yaml", *options)
    effects = {tuple(one["flags"]): one["effect"] for one in body["flags"]}
    assert effects.keys() == {("--slots", "8"), ("--seed", "7")}
    assert effects["--seed", "7"] != "helps"
    skip_where_disturbed(body)
    assert effects["--slots", "8"] == "helps"
