"""The experiments that ship: each is valid, and what its plan says is what the published matrices say."""

from collections import Counter
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.experiment import Experiment
from experiments.schema.load import ClosedLoop
from experiments.schema.read import catalog, read_experiment
from tasks.analysis.sweep import next_point
from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.planning import PlannedCell, check_lines, estimate, plan_cells
from tasks.flags.table import read_table

SHIPPED = Path(__file__).parents[2] / "experiments"

ENGINES = ("vllm", "sglang", "tensorrt_llm pytorch", "tensorrt_llm tensorrt")
PAIRS = ["128/1024", "256/2048", "512/512", "512/4096", "1024/128", "1024/1024", "2048/256", "2048/2048", "4096/512"]
LONG_PAIRS = ["8192/512", "16384/512", "32768/512"]
SMALL = ("llama-3.1-8b bf16", "llama-3.1-8b fp8", "llama-3.1-8b int4_awq", "gemma-3-4b bf16", "zeta bf16")
ON_ONE_GPU = (
    *("gemma-3-12b bf16", "gemma-3-27b bf16", "ministral-8b bf16", "mistral-small-3.1-24b bf16"),
    *("qwen3-30b-a3b bf16", "gpt-oss-20b mxfp4", "gpt-oss-120b mxfp4"),
)
ON_EIGHT_GPUS = (
    *("llama-3.1-70b bf16", "llama-3.1-70b fp8", "llama-3.1-70b int4_awq", "qwen3-235b-a22b bf16"),
    *("qwen3-235b-a22b fp8", "deepseek-v3 fp8_block"),
)
COMPILES = ("llama", "ministral", "qwen3")
"""Families whose weights a script of TensorRT-LLM 1.2.1 converts."""


def read(name: str) -> Experiment:
    experiment = read_experiment(SHIPPED / f"{name}.yaml", ADAPTERS)
    check_lines(experiment, name)
    return experiment


def planned(experiment: Experiment, tmp_path: Path) -> list[PlannedCell]:
    return plan_cells(experiment, open_campaign(tmp_path, experiment.name))


def states(cells: list[PlannedCell]) -> dict[str, int]:
    return dict(Counter(cell.state for cell in cells))


def is_compiled_for(model: str) -> bool:
    return model.startswith(COMPILES) and "fp8_block" not in model and "mxfp4" not in model


def runs(engine: str, model: str, pair: str) -> bool:
    return (engine != ENGINES[3] or is_compiled_for(model)) and not (model.startswith("zeta") and pair == "32768/512")


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_every_shipped_experiment_is_valid_and_has_something_to_measure(name: str, tmp_path: Path) -> None:
    assert "to measure" in states(planned(read(name), tmp_path))


def test_the_almanacs_plan_is_the_almanacs_matrix(tmp_path: Path) -> None:
    every = [(e, m, p) for e in ENGINES for m in (*SMALL, *ON_ONE_GPU, *ON_EIGHT_GPUS) for p in (*PAIRS, *LONG_PAIRS)]
    left_out = [case for case in every if case[1] not in SMALL and case[2] in LONG_PAIRS]
    measured = [case for case in every if case not in left_out and runs(*case)]
    experiment = read("almanac")
    cells = planned(experiment, tmp_path)
    refused = len(every) - len(left_out) - len(measured)
    assert states(cells) == {"to measure": len(measured), "excluded": len(left_out), "unsupported": refused}
    assert (len(every), len(measured), refused) == (864, 627, 81)
    assert all(cell.reason for cell in cells if cell.state != "to measure")
    assert {(w.prompt_tokens, w.output_tokens) for w in experiment.workloads} == {
        (int(into), int(out)) for into, out in (pair.split("/") for pair in (*PAIRS, *LONG_PAIRS))
    }


def test_the_almanacs_gpu_hours_are_those_of_its_points(tmp_path: Path) -> None:
    """A cell is its floor, users from 2 to 512 by doubling (9 points), 4 rates and one overload, and two points' time
    to warm up; each takes 30 s and half as much again."""
    experiment = read("almanac")
    cells = planned(experiment, tmp_path)
    eights = [case for case in ON_EIGHT_GPUS for _ in PAIRS]
    on_eight = 3 * len(eights) + sum(map(is_compiled_for, eights))
    gpus = 8 * on_eight + (627 - on_eight)
    assert estimate(cells, experiment.load_plan).gpu_hours == pytest.approx(gpus * 45 * (1 + 9 + 5 + 2) / 3600)
    hardware = catalog("hardware")
    for cell in cells:
        variant = cell.cell.variant
        eight = hardware[variant.hardware]["gpus"] == 8
        assert variant.tensor_parallel == (8 if eight else 1)
        assert variant.hardware.endswith("-x8") == eight


def test_every_almanac_cell_that_is_measured_has_room_for_its_tokens(tmp_path: Path) -> None:
    for cell in planned(read("almanac"), tmp_path):
        room, workload = cell.cell.variant.max_model_len, cell.cell.workload
        asked = int(workload.name.split("-")[0].removeprefix("in")) + int(workload.name.split("-out")[1])
        assert room
        assert room >= asked or cell.state != "to measure"


@pytest.mark.parametrize("name", ["almanac", "bentoml", "throughput_latency"])
def test_every_server_that_is_to_be_measured_takes_its_flags(name: str, tmp_path: Path) -> None:
    """By the option table of the very release that the experiment pins."""
    variants = {c.cell.variant.id: c.cell.variant for c in planned(read(name), tmp_path) if c.state == "to measure"}
    for variant in variants.values():
        table = read_table(variant.engine, variant.engine_version)
        argv = [
            "{value}" if word.startswith("{") else word for word in ADAPTERS[variant.engine].launch_spec(variant).argv
        ]
        program = 0 if variant.engine == "tgi" else len(table.program.split()) + argv[:1].count("{value}")
        assert table.problems(argv[program:]) == [], variant.label
        assert " ".join(argv[:program]).endswith(table.program) or not program


def test_bentomls_plan_is_five_engines_two_models_and_three_numbers_of_users(tmp_path: Path) -> None:
    experiment = read("bentoml")
    cells = planned(experiment, tmp_path)
    assert states(cells) == {"to measure": 5 * 2 * 2}
    facts = {(c.cell.variant.engine, c.cell.variant.quantization.value, c.cell.workload.name) for c in cells}
    engines = ("vllm", "lmdeploy", "mlc_llm", "tensorrt_llm", "tgi")
    workloads = ("dolly-short", "dolly-short-system")
    assert facts == {(e, q, w) for e in engines for q in ("f16", "int4_awq") for w in workloads}
    assert {cell.cell.variant.hardware for cell in cells} == {"a100-80gb"}
    ramp = experiment.load_plan.ramp
    assert ramp is not None
    assert (ramp.users, ramp.ramp_seconds, ramp.seconds) == ((10, 50, 100), 20, 300)
    assert estimate(cells, experiment.load_plan).gpu_hours == pytest.approx(20 * 3 * 5 / 60)


def test_lacroixs_plane_is_measured_at_every_power_of_two(tmp_path: Path) -> None:
    experiment = read("throughput_latency")
    cells = planned(experiment, tmp_path)
    assert states(cells) == {"to measure": 5, "unsupported": 1}
    (refused,) = [cell for cell in cells if cell.state == "unsupported"]
    assert (refused.cell.variant.hardware, refused.cell.variant.quantization) == ("a10", "fp8")
    first = next_point(experiment.load_plan, [], slos=experiment.slos, warm_up_rps=1.0, launch=1)
    assert first is not None
    assert isinstance(first.load, ClosedLoop)
    assert first.load.concurrency == 1
    assert experiment.load_plan.ladder is not None
    assert experiment.load_plan.ladder.concurrency == tuple(2**power for power in range(10))


def test_models_that_bounds_are_told_of_are_in_the_catalog_with_their_shapes() -> None:
    shapes = catalog("model_shapes")
    for name in ("almanac", "bentoml", "throughput_latency"):
        for line in read(name).variants:
            assert {variant.model.name for variant in line} <= set(shapes)
