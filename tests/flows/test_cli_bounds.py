"""`dyno bounds` and `dyno cost`: what they tell, as JSON and for people, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.errors import InputError
from experiments.schema.load import LoadPoint, OpenLoop, Poisson, StopRule
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.result import Capacity, CellResult, CellState, Distribution, PointResult, TrialSummary
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload
from flows.cli import app
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.campaigns.machine_file import keep_bandwidth, known_bandwidth
from tasks.loadgen.memory_bandwidth import measure_memory_bandwidth
from tasks.serving.provenance import machine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("DYNO_HOME", str(tmp_path))
    monkeypatch.delenv("DYNO_PRICES", raising=False)
    return Home(tmp_path)


def dyno(*args: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*args, "--json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def told(*args: str) -> str:
    done = CliRunner().invoke(app, list(args))
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.stdout


@pytest.mark.parametrize("hardware", ["a10", "a100-80gb"])
def test_bounds_of_a_folder_are_lacroix_s(tmp_path: Path, hardware: str) -> None:
    """His 7B model in 16 bits: 2 GiB a sequence of 4096, batch 5 on 24 GiB and 33 on 80 GiB."""
    config = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    lengths = ("--prompt-tokens", "4000", "--output-tokens", "96", "--memory-fraction", "1")
    body = dyno("bounds", str(tmp_path), "--hardware", hardware, "--quantization", "f16", *lengths)
    assert body["kv_bytes_per_token"] * 4096 == 2 * 2**30
    assert body["largest_batch"] == {"a10": 5, "a100-80gb": 33}[hardware]
    assert [step["batch"] for step in body["decode"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert [step["fits"] for step in body["decode"]][:4] == [True, True, True, hardware != "a10"]


def test_bounds_are_told_to_people_with_units() -> None:
    said = told("bounds", "llama-3.1-8b-instruct", "--hardware", "h100-sxm")
    for words in ("3,350 GB/s", "989 TFLOPS dense", "128 KiB a token", "4.48 ms a token", "295 (B*)", "180 ms"):
        assert words in said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("llama-3.1-8b", "--hardware", "h100-sxm"), "Did you mean llama-3.1-8b-instruct"),
        (("llama-3.1-8b-instruct", "--hardware", "h100"), "unknown hardware 'h100'"),
        (("llama-3.1-8b-instruct", "--hardware", "a10", "--quantization", "int3"), "choose from bf16"),
        (("llama-3.1-8b-instruct", "--hardware", "a10", "--gpus", "2"), "a10 has 1"),
        (("llama-3.1-8b-instruct", "--hardware", "cpu"), "memory bandwidth was not measured: dyno doctor"),
    ],
)
def test_what_bounds_cannot_tell_is_an_input_error(args: tuple[str, ...], words: str) -> None:
    error = CliRunner().invoke(app, ["bounds", *args]).exception
    assert isinstance(error, InputError)
    assert words in str(error)


def test_on_this_cpu_the_bound_rests_on_what_was_measured_here(home: Home) -> None:
    measured = [{"working_set_bytes": 2.0**21, "gb_per_s": 40.0}, {"working_set_bytes": 2.0**27, "gb_per_s": 8.0}]
    keep_bandwidth(home, machine(), measured)
    body = dyno("bounds", "llama-3.1-8b-instruct", "--hardware", "cpu", "--quantization", "q8_0")
    assert (body["bandwidth_gb_per_s"], body["gpus"], body["prefill_ms"]) == (8.0, 0, None)
    assert body["latency_floor_ms"] == pytest.approx(7_504_924_672 * 34 / 32 / 8e9 * 1e3)


def test_the_best_measurement_of_a_machine_stands(home: Home) -> None:
    for first, second in ((5.0, 9.0), (7.0, 3.0)):
        speeds = [{"working_set_bytes": 1.0, "gb_per_s": first}, {"working_set_bytes": 2.0, "gb_per_s": second}]
        keep_bandwidth(home, machine(), speeds)
    assert [one["gb_per_s"] for one in known_bandwidth(home, machine())] == [7.0, 9.0]


def test_a_measurement_of_another_machine_is_not_taken(home: Home) -> None:
    keep_bandwidth(home, {**machine(), "cpu": "another"}, [{"working_set_bytes": 1.0, "gb_per_s": 1.0}])
    assert known_bandwidth(home, machine()) == []
    (home.root / "machine.json").write_text("{")
    assert known_bandwidth(home, machine()) == []


def test_memory_bandwidth_is_measured_for_working_sets_of_growing_size() -> None:
    """No speed is asserted: only that it is one."""
    found = measure_memory_bandwidth(seconds=0.005, cores=1)
    sizes = [one.working_set_bytes for one in found]
    assert sizes == sorted(sizes)
    assert sizes[0] == 2 * 2**20
    assert all(one.gb_per_s > 0 for one in found)


@pytest.fixture
def cell(home: Home) -> CellResult:
    """Certified at 10 rps, 1000 output tokens/s, two seconds a request, on one H100."""
    load = OpenLoop(arrivals=Poisson(), rate_rps=10.0)
    point = LoadPoint(step=0, role="open_loop", load=load, stop=StopRule(requests=200))
    rates = {"output_tokens_per_s": 1000.0, "input_tokens_per_s": 9000.0, "total_tokens_per_s": 10000.0}
    summary = TrialSummary(
        method_version="1", requests=200, outcomes={"completed": 200}, valid=True, window_s=20.0, **rates,
        latencies={"e2e_ms": Distribution(n=200, mean=2000.0)},
    )  # fmt: skip
    made = CellResult(
        cell_id="abc123", experiment="mine", campaign="mine-1", launch=1, state=CellState.MEASURED,
        variant=Variant(engine="vllm", engine_version="1", quantization=Quantization.BF16, hardware="h100-sxm",
                        model=Model(name="m", source=SyntheticSource(kind="synthetic"))),
        workload=Workload(name="w", prompt_tokens=900, output_tokens=100),
        points=(PointResult(point=point, summary=summary, directory="0", started_at=""),),
        capacities=(Capacity(slo="ttft:p95<300ms", name="fast", verdict="certified", certified_rps=10.0),
                    Capacity(slo="ttft:p95<1ms", name="faster", verdict="unknown", reason="too few requests")),
    )  # fmt: skip
    Campaign("mine", home.campaigns / "mine" / "1").save(made)
    return made


def test_a_demand_becomes_replicas_and_dollars_a_day(cell: CellResult, tmp_path: Path) -> None:
    """45 rps at 8 each (a fifth free): 6 replicas; $3.60 an hour; 10⁶ output tokens take 1000 s, a dollar."""
    (tmp_path / "prices.yaml").write_text("h100-sxm: 3.60\n")
    asked = ("cost", "abc", "--demand", "45", "--headroom", "0.2", "--prices", str(tmp_path / "prices.yaml"))
    body = dyno(*asked)
    assert body["unit"] == "GPU-seconds"
    assert body["capacities"]["fast"]["output"] == pytest.approx(1000)
    assert body["capacities"]["fast"]["usd_output"] == pytest.approx([1.0, 1.0])
    need = body["demand"]["at"]["fast"]
    assert (need["replicas"], need["gpus"], need["in_flight"]) == (6, 6, 90)
    assert need["usd_per_day"] == pytest.approx([6 * 24 * 3.6] * 2)
    assert body["demand"]["at"]["faster"] == {"reason": "unknown: too few requests"}
    said = told(*asked)
    assert "6 replicas, 75% of capacity, 90.0 requests in flight, $518 a day" in said
    assert "1,000 GPU-seconds, $1.00" in said


def test_prices_come_from_the_variable_too(cell: CellResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("h100-sxm: 7.2\n")
    monkeypatch.setenv("DYNO_PRICES", str(tmp_path / "mine.yaml"))
    assert dyno("cost", "abc123")["usd_per_hour"] == [7.2, 7.2]
    monkeypatch.delenv("DYNO_PRICES")
    assert dyno("cost", "abc123")["usd_per_hour"] == [1.99, 5.0]


def test_a_cell_that_is_not_there_is_an_input_error() -> None:
    assert isinstance(CliRunner().invoke(app, ["cost", "zzz"]).exception, InputError)


def test_the_plan_tells_dollars_where_a_price_is_known(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(
        "workloads: [in128-out16]\nvariants:\n- {engine: llama_cpp, engine_version: '2026.10.11549', "
        "model: tiny-llama-3m, quantization: q8_0}\n"
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text("cpu: 3600\n")
    assert dyno("plan", str(experiment))["estimate"]["usd"] is None
    takes = dyno("plan", str(experiment), "--prices", str(prices))["estimate"]
    low, high = takes["usd"]
    assert low == high
    assert 0 < low <= takes["seconds"], "a dollar a second of measuring, launches not counted"
