"""What a variant cannot serve of a workload is told before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from experiments.errors import InputError
from experiments.schema.read import read_experiment
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.campaigns.planning import check_lines, refusal


def workload(**fields: Any) -> Workload:
    return Workload.model_validate({"name": "w", "prompt_tokens": 100, "output_tokens": 100} | fields)


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"prompt_tokens": {"kind": "uniform", "min": 1, "max": 157}}, 257),
        ({"prompt_tokens": {"kind": "normal", "mean": 100, "std": 20}}, 280),
        ({"output_tokens": {"kind": "lognormal", "median": 20, "sigma": 1, "max": 160}}, 260),
        ({"output_tokens": {"kind": "natural", "max": 157}}, 257),
        ({"conversation": {"turns": 2}}, 400),
    ],
)
def test_the_longest_request_that_may_be_drawn_has_to_fit(
    variant: Variant, fields: dict[str, Any], needed: int
) -> None:
    roomy = variant.model_copy(update={"max_model_len": needed})
    tight = variant.model_copy(update={"max_model_len": needed - 1})
    assert refusal(roomy, workload(**fields)) is None
    refused = refusal(tight, workload(**fields))
    assert refused == ("max_model_len", f"w needs {needed} tokens of context, and there are {needed - 1}")


def test_a_schema_needs_an_engine_that_takes_one(variant: Variant) -> None:
    asked = workload(json_schema={"type": "object"}, endpoint="chat")
    assert refusal(variant, asked) is None
    other = {"engine": "mlx_lm", "quantization": "bf16", "model": variant.model, "engine_version": "1"}
    refused = refusal(Variant.model_validate(other), asked)
    assert refused is not None
    assert "takes no JSON schema on chat" in refused[1]


def test_an_engine_that_cannot_be_held_to_a_length_is_refused_for_the_workloads_that_hold_to_one(
    variant: Variant,
) -> None:
    tgi = {"engine": "tgi", "engine_version": "3.3.7", "quantization": "bf16", "model": variant.model}
    on_a_gpu = Variant.model_validate(tgi | {"hardware": "h100-sxm", "runtime": "container"})
    refused = refusal(on_a_gpu, workload())
    assert refused is not None
    assert "ignore_eos is false for every request" in refused[1]
    assert refusal(on_a_gpu, workload(output_tokens={"kind": "natural", "max": 100})) is None


def test_a_line_that_cannot_run_is_an_error_unless_it_is_excluded_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "refused.yaml"
    line = "{engine: mlx_lm, engine_version: '1', model: tiny-llama-3m, quantization: q8_0}"
    file.write_text(f"variants: [{line}]\nworkloads: [in16-out64]\n")
    with pytest.raises(InputError, match=r"variants\[0\]\.quantization"):
        check_lines(read_experiment(file, ADAPTERS), str(file))
    file.write_text(file.read_text() + "exclude: [{engine: [mlx_lm, tgi], reason: it is known to}]\n")
    check_lines(read_experiment(file, ADAPTERS), str(file))
