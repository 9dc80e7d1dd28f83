"""The whole flow for GPU engines without a GPU: two cells of almanac.yaml, on stand-ins that are named so wherever they
show. What dyno does is real; what it writes down is no measurement."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from engine_adapters import ADAPTERS
from experiments.schema.read import read_experiment
from experiments.schema.variant import Variant
from tasks.serving.server import fill
from tests.stand_ins.demo import ROOT, demonstration, run_dyno
from tests.stand_ins.programs import stand_in_programs
from tests.tasks.artifacts.hub_server import TOKEN

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: NVML's stand-in cannot be made"),
]


@dataclass(frozen=True)
class Ran:
    """One run of dyno over the two cells, and the environment that it ran in."""

    folder: Path
    environment: dict[str, str]
    body: dict[str, Any]
    said: str

    @property
    def home(self) -> Path:
        return self.folder / "home" / "stand-ins"

    def cell(self, engine: str) -> dict[str, Any]:
        files = [json.loads(path.read_text()) for path in (self.home / "campaigns").glob("almanac/1/*/cell.json")]
        (found,) = [cell for cell in files if cell["variant"]["engine"] == engine]
        return dict(found)

    def log(self, engine: str, kind: str = "servers") -> str:
        name = Variant.model_validate(self.cell(engine)["variant"]).id
        return (self.home / f"campaigns/almanac/1/{kind}/{name}-1.log").read_text()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("gpu_flow")
    with demonstration(folder) as environment:
        done = run_dyno(folder, environment, "run", "almanac.yaml", "--json")
        assert done.returncode == 0, done.stderr
        yield Ran(folder, environment, json.loads(done.stdout), done.stderr)


def almanac_variant(engine: str) -> Variant:
    """As the shipped file has it."""
    experiment = read_experiment(ROOT / "experiments/almanac.yaml", ADAPTERS)
    backend = "tensorrt" if engine == "tensorrt_llm" else None
    (found,) = [
        variant
        for line in experiment.variants
        for variant in line
        if (variant.engine, variant.engine_backend) == (engine, backend)
        and (variant.model.name, variant.quantization) == ("llama-3.1-8b-instruct", "bf16")
    ]
    return found


@pytest.mark.parametrize("engine", ["vllm", "tensorrt_llm"])
def test_a_stand_in_is_started_exactly_as_the_almanacs_engine_would_be(ran: Ran, engine: str) -> None:
    cell, asked = ran.cell(engine), almanac_variant(engine)
    assert Variant.model_validate(cell["variant"]) == asked.model_copy(update={"stand_in": True})
    argv = cell["provenance"]["argv"]
    spec = ADAPTERS[engine].launch_spec(asked)
    loads = next(word for word, said in zip(argv, spec.argv, strict=True) if said == "{model}")
    port = int(argv[argv.index("--port") + 1])
    files = ran.home / f"campaigns/almanac/1/servers/{Variant.model_validate(cell['variant']).id}-1-files"
    python = ran.environment["DYNO_STAND_INS"] + "/python"
    assert tuple(argv) == fill(spec, python=python, model=loads, port=port, files=files)
    assert cell["provenance"]["engine_says_version"] == asked.engine_version


@pytest.mark.parametrize("engine", ["vllm", "tensorrt_llm"])
def test_each_stage_ran_from_the_gated_download_to_mlflow(ran: Ran, engine: str) -> None:
    cell = ran.cell(engine)
    assert {"download", "quantize", "build", "launch", "warm up", "load sweep"} <= set(cell["stages_s"])
    assert cell["provenance"]["model"]["revision"] == "5e1f" * 10
    assert TOKEN not in ran.said
    run = MlflowClient(f"sqlite:///{ran.home / 'mlflow.db'}").get_run(cell["mlflow_run_id"])
    assert run.data.tags["stand_in"] == "true"
    assert run.data.tags["engine"] == f"STAND-IN of {engine}"
    assert "STAND-IN" in (run.info.run_name or "")
    assert run.data.tags["dyno.state"] == "stand_in"
    assert "output_tokens_per_s" in run.data.metrics


@pytest.mark.parametrize("engine", ["vllm", "tensorrt_llm"])
def test_lengths_are_exact_in_each_engines_own_dialect(ran: Ran, engine: str) -> None:
    """The instrument's own account, and the pre-flight's of what the server honours."""
    cell = ran.cell(engine)
    for point in cell["points"]:
        folder = ran.home / "campaigns/almanac/1" / cell["cell_id"] / "launch-1" / point["directory"]
        rows = pq.read_table(folder / "requests.parquet").to_pylist()
        assert {row["outcome"] for row in rows} == {"completed"}
        assert {(row["prompt_tokens"], row["output_tokens"]) for row in rows} == {(1024, 128)}


@pytest.mark.parametrize("engine", ["vllm", "tensorrt_llm"])
def test_energy_and_the_engines_own_metrics_are_beside_each_trial(ran: Ran, engine: str) -> None:
    name = {"vllm": "output_tokens", "tensorrt_llm": "kv_cache_usage"}[engine]
    cell = ran.cell(engine)
    for point in cell["points"]:
        assert point["summary"]["gpu"]["mean_power_w"] == pytest.approx(412.0, rel=0.01)
        assert point["summary"]["energy_j"] == pytest.approx(412.0 * point["summary"]["window_s"], rel=0.05)
        folder = ran.home / "campaigns/almanac/1" / cell["cell_id"] / "launch-1" / point["directory"]
        told = pq.read_table(folder / "engine_metrics.parquet").to_pylist()
        assert name in {row["name"] for row in told}


def test_the_engine_that_must_be_compiled_is_compiled_by_its_own_commands(ran: Ran) -> None:
    build, log = ran.cell("tensorrt_llm")["provenance"]["build"], ran.log("tensorrt_llm", "builds")
    assert build["was_made"]
    assert build["tool_seconds"] == 98.0
    assert "STAND-IN for trtllm-build 1.2.1" in log
    assert "convert_checkpoint" in log
    assert "STAND-IN for a GPU" in json.dumps(build["made_from"])
    assert "build" not in ran.cell("vllm")["provenance"]


def test_nothing_that_a_stand_in_answered_can_be_taken_for_a_measurement(ran: Ran) -> None:
    for row in ran.body["cells"]:
        assert (row["state"], row["grade"], row["stand_in"]) == ("stand_in", None, True)
        assert row["engine"].startswith("STAND-IN of ")
        assert row["variant"].startswith("STAND-IN of ")
        assert (row["cost"], list(row["bounds"])) == (None, ["reason"])
        assert row["validity"][0].startswith("a stand-in answered")
    assert "no figure that follows is a measurement" in ran.said
    report = (ran.home / "campaigns/almanac/1/report.html").read_text()
    assert "nothing was measured" in report
    assert "None of these figures is a measurement" in report
    for engine in ("vllm", "tensorrt_llm"):
        assert ran.cell(engine)["provenance"]["runtime"] == {"kind": "stand_in", "stand_in": "true"}
        assert "STAND-IN" in ran.log(engine).splitlines()[0]


def test_the_store_of_measurements_never_learns_of_them(ran: Ran) -> None:
    without = {name: value for name, value in ran.environment.items() if name != "DYNO_STAND_INS"}
    planned = json.loads(run_dyno(ran.folder, without, "plan", "almanac.yaml", "--json").stdout)
    assert [cell["state"] for cell in planned["cells"]] == ["to measure"] * 2
    seen = {cell["cell_id"] for cell in planned["cells"]}
    assert not seen & {row["cell_id"] for row in ran.body["cells"]}
    assert {path.name for path in (ran.folder / "home").iterdir()} <= {"stand-ins", "leases"}


def test_commands_that_judge_engines_refuse_stand_ins(ran: Ran) -> None:
    done = run_dyno(ran.folder, ran.environment, "compare", "almanac.yaml")
    assert done.returncode == 2
    assert "dyno compare is for engines" in done.stderr


def test_the_mark_of_a_stand_in_is_not_written_by_a_person(ran: Ran) -> None:
    written = json.loads((ran.folder / "almanac.yaml").read_text())
    written["variants"][0]["stand_in"] = True
    (ran.folder / "written.yaml").write_text(json.dumps(written))
    for environment in (ran.environment, {**ran.environment, "DYNO_STAND_INS": ""}):
        done = run_dyno(ran.folder, environment, "validate", "written.yaml")
        assert done.returncode == 2
        assert "variants[0].stand_in" in done.stderr


REFUSED = {
    "vllm": (["python", "-m", "vllm.entrypoints.cli.main", "serve", "m", "--swap-space", "4"], "vllm serve: error"),
    "tensorrt_llm": (["trtllm-serve", "m", "--quantization", "fp8"], "No such option: -"),
}


@pytest.mark.parametrize("engine", REFUSED)
def test_a_flag_that_the_real_parser_lacks_ends_a_stand_in_as_it_would_the_engine(engine: str, tmp_path: Path) -> None:
    programs = stand_in_programs(tmp_path)
    (name, *arguments), words = REFUSED[engine]
    done = subprocess.run([programs / name, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert words in done.stdout
    assert arguments[-2] in done.stdout
    patterns = [p.pattern for p in ADAPTERS[engine].failure_patterns if p.failure_class == "bad_flag"]
    assert any(re.search(pattern, done.stdout) for pattern in patterns)


def test_a_folder_without_stand_ins_is_an_error_and_never_an_engine(tmp_path: Path) -> None:
    done = run_dyno(tmp_path, {"DYNO_STAND_INS": str(tmp_path), "PYTHONPATH": str(ROOT)}, "validate", "x.yaml")
    assert done.returncode == 3
    assert "no folder of stand-ins" in done.stderr
    assert sys.executable not in done.stderr
