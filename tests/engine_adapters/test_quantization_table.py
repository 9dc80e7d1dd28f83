"""Engine × quantization: what each engine really loads, and that the plan says of every other pair why not."""

from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.read import read_experiment
from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.planning import PlannedCell, plan_cells

TABLE = """
                                            | bf16 | fp8 | fp8_block | int4_awq | nf4 | int8
vllm 0.33.0 environment                     |  +   |  +  |     +     |    +     |  +  |  +
vllm 0.33.0 container                       |  +   |  +  |     +     |    +     |  x  |  x
sglang 0.5.23 environment                   |  +   |  +  |     +     |    +     |  +  |  +
tensorrt_llm 1.2.1 container pytorch        |  +   |  +  |     +     |    +     |  x  |  x
tensorrt_llm 1.2.1 container tensorrt       |  +   |  +  |     x     |    +     |  x  |  x
tensorrt_llm 1.3.0rc22 container tensorrt   |  x   |  x  |     x     |    x     |  x  |  x
lmdeploy 0.18.0 environment turbomind       |  +   |  x  |     o     |    +     |  x  |  x
lmdeploy 0.18.0 environment pytorch         |  +   |  o  |     +     |    o     |  x  |  x
mlc_llm 0.20.0 environment                  |  +   |  o  |     +     |    +     |  x  |  x
tgi 3.3.7 container                         |  +   |  +  |     x     |    +     |  +  |  +
"""
"""As published by the engines for these releases. `+`: it is measured; `x`: the engine cannot; `o`: the engine can, of
files that no stage of ours makes, and so it is refused too."""

BEFORE_FP8 = {"vllm", "sglang", "tensorrt_llm"}
"""Those that we give FP8 of whole rows, for which an A100 has no arithmetic."""


def pairs() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip("\n").splitlines()
    names = [name.strip() for name in head.split("|")[1:]]
    cells = [(row.split("|")[0].strip(), row.split("|")[1:]) for row in rows]
    return [(engine, name, mark.strip()) for engine, marks in cells for name, mark in zip(names, marks, strict=True)]


def planned(engine: str, quantization: str, folder: Path, hardware: str = "h100-sxm") -> PlannedCell:
    """Of an experiment with this one cell."""
    name, version, runtime, *backend = engine.split()
    line = f"{{engine: {name}, engine_version: '{version}', runtime: {runtime}, model: llama-3.1-8b-instruct, "
    line += (
        f"hardware: {hardware}, quantization: {quantization}{', engine_backend: ' + backend[0] if backend else ''}}}"
    )
    workload = "{name: w, prompt_tokens: 8, output_tokens: {kind: natural, max: 8}}"
    file = folder / "one.yaml"
    file.write_text(f"variants: [{line}]\nworkloads: [{workload}]\n")
    (cell,) = plan_cells(read_experiment(file, ADAPTERS), open_campaign(folder, "one"))
    return cell


@pytest.mark.parametrize(("engine", "quantization", "mark"), pairs())
def test_the_plan_measures_what_an_engine_loads_and_says_why_not_of_the_rest(
    engine: str, quantization: str, mark: str, tmp_path: Path
) -> None:
    cell = planned(engine, quantization, tmp_path)
    assert cell.state == ("to measure" if mark == "+" else "unsupported")
    assert mark == "+" or quantization in cell.reason or "compiles no engine" in cell.reason


@pytest.mark.parametrize("engine", [e for e, q, mark in pairs() if q == "fp8" and mark == "+" and e[:3] != "tgi"])
def test_an_a100_is_refused_fp8_since_it_would_compute_in_16_bits(engine: str, tmp_path: Path) -> None:
    cell = planned(engine, "fp8", tmp_path, "a100-80gb")
    assert engine.split()[0] in BEFORE_FP8
    assert cell.state == "unsupported"
    assert "FP8" in cell.reason
