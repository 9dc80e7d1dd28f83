"""Each thing that a compiled engine's bytes depend on changes its key, and nothing else does."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_adapters.base import BuildSpec
from tasks.artifacts.store import artifact_key
from tasks.building.identity import GPU, made_from, sorted_flags
from tests.tasks.building.toolchains import H200, variant_of

VARIANT = variant_of("tensorrt_llm")
SPEC = BuildSpec(commands=(("trtllm-build", "--a", "1", "--b", "2"),), env=(("X", "1"),), tokenizer_folder="tokenizer")
ASKED: dict[str, Any] = {
    "variant": VARIANT,
    "spec": SPEC,
    "checkpoint": {"rank0.safetensors": "aa", "config.json": "bb"},
    "tokenizer": {"tokenizer.json": "cc"},
    "toolchain": "packages-1",
    "gpu": H200,
}
CHANGES: dict[str, dict[str, Any]] = {
    "engine": {"variant": VARIANT.model_copy(update={"engine": "mlc_llm"})},
    "engine version": {"variant": VARIANT.model_copy(update={"engine_version": "1.2.0"})},
    "tensor parallelism": {"variant": VARIANT.model_copy(update={"tensor_parallel": 4})},
    "pipeline parallelism": {"variant": VARIANT.model_copy(update={"pipeline_parallel": 2})},
    "expert parallelism": {"variant": VARIANT.model_copy(update={"expert_parallel": 2})},
    "GPU product": {"gpu": replace(H200, name="NVIDIA H100 80GB HBM3")},
    "GPU architecture": {"gpu": replace(H200, compute_capability="10.0")},
    "driver's major version": {"gpu": replace(H200, driver="590.10")},
    "no GPU": {"gpu": None},
    "a checkpoint's content": {"checkpoint": {"rank0.safetensors": "ab", "config.json": "bb"}},
    "a checkpoint's file": {"checkpoint": {"rank0.safetensors": "aa"}},
    "tokenizer": {"tokenizer": {"tokenizer.json": "cd"}},
    "toolchain": {"toolchain": "packages-2"},
    "a flag's value": {"spec": replace(SPEC, commands=(("trtllm-build", "--a", "3", "--b", "2"),))},
    "a flag": {"spec": replace(SPEC, commands=(("trtllm-build", "--a", "1", "--b", "2", "--c"),))},
    "a command": {"spec": replace(SPEC, commands=(*SPEC.commands, ("x",)))},
    "environment": {"spec": replace(SPEC, env=(("X", "2"),))},
    "what is loaded": {"spec": replace(SPEC, loads="engine")},
}
SAME: dict[str, dict[str, Any]] = {
    "another order of flags": {"spec": replace(SPEC, commands=(("trtllm-build", "--b", "2", "--a", "1"),))},
    "another minor driver": {"gpu": replace(H200, driver="580.126.09")},
    "what the server is told": {"variant": VARIANT.model_copy(update={"seed": 3, "prefix_cache": True})},
    "how a log is read": {"spec": replace(SPEC, time_pattern="x", kind="y")},
}


def key(**changes: Any) -> str:
    asked = ASKED | changes
    return artifact_key("engine", made_from(asked.pop("variant"), asked.pop("spec"), **asked))


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_another_engine_has_another_key(changed: dict[str, Any]) -> None:
    assert key(**changed) != key()


@pytest.mark.parametrize("changed", SAME.values(), ids=SAME)
def test_the_same_engine_has_the_same_key(changed: dict[str, Any]) -> None:
    assert key(**changed) == key()


def test_without_a_gpu_the_key_says_none() -> None:
    asked = ASKED | {"gpu": None}
    assert made_from(asked.pop("variant"), asked.pop("spec"), **asked)["gpu"] == "none"
    assert GPU("a", "9.0", "580.1").identity() == {"name": "a", "compute_capability": "9.0", "driver": "580"}


@given(st.permutations([["--a", "1"], ["--b"], ["-c", "-3"], ["--a", "0"]]))
def test_the_order_of_flags_is_no_matter_and_their_values_stay_with_them(flags: list[list[str]]) -> None:
    words = ["program", "model", *(word for flag in flags for word in flag)]
    assert sorted_flags(words) == [["program", "model"], ["--a", "0"], ["--a", "1"], ["--b"], ["-c", "-3"]]
