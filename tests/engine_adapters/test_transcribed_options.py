"""Every command that the adapters of TensorRT-LLM, MLC-LLM and TGI can emit, against the parsers of their releases.

Their parsers cannot be had from the package index: the tables are transcribed from source, the commit in each.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec, UnsupportedVariant
from experiments.schema.model import HubSource, Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.flags.table import read_table

KV_TYPES = [one for one in get_args(get_args(Variant.model_fields["kv_cache_dtype"].annotation)[0]) if one]
VALUES: dict[str, Sequence[Any]] = {
    "quantization": list(Quantization),
    "engine_backend": [None, "pytorch", "tensorrt"],
    "engine_profile": ["default", "tuned"],
    "tensor_parallel": [1, 2, 8],
    "pipeline_parallel": [1, 2],
    "expert_parallel": [1, 2],
    "max_model_len": [None, 8192],
    "max_num_seqs": [None, 256],
    "kv_cache_dtype": [None, *KV_TYPES],
    "gpu_memory_fraction": [None, 0.85],
    "prefix_cache": [None, True, False],
    "chunked_prefill": [None, True, False],
    "speculative_tokens": [None, 4],
    "dummy_weights": [False, True],
    "trust_remote_code": [False, True],
    "seed": [None, 7],
}
MODELS = [
    Model(name="s", source=SyntheticSource(kind="synthetic")),
    *(
        Model(name="h", source=HubSource(kind="hub", repo=repo))
        for repo in (
            "meta-llama/Llama-3.1-8B-Instruct",
            "Qwen/Qwen3-8B",
            "someone/Llama-3-70B-awq",
            "google/gemma-3-4b-it",
        )
    ),
]
ENGINES = {"tensorrt_llm": ("1.2.1", "container"), "mlc_llm": ("0.20.0", "environment"), "tgi": ("3.3.7", "container")}
PROGRAMS = {
    "trtllm-serve": ("tensorrt_llm", "1.2.1", 1),
    "trtllm-build": ("tensorrt_llm.build", "1.2.1", 1),
    "mlc_llm serve": ("mlc_llm", "0.20.0", 2),
    "mlc_llm convert_weight": ("mlc_llm.convert_weight", "0.20.0", 2),
    "mlc_llm gen_config": ("mlc_llm.gen_config", "0.20.0", 2),
    "mlc_llm compile": ("mlc_llm.compile", "0.20.0", 2),
}


def problems(argv: Sequence[str]) -> list[str]:
    """Of one command; a value within which a placeholder stands is a path."""
    words = ["{path}" if word.startswith("{") else word for word in argv]
    if words[0].startswith("--"):
        return read_table("tgi", "3.3.7").problems(words)
    if words[1].endswith("convert_checkpoint.py"):
        family = words[1].split("/")[-2]
        return read_table(f"tensorrt_llm.convert_{family}", "1.2.1").problems(words[2:])
    name = words[0] if words[0] in PROGRAMS else " ".join(words[:2])
    engine, version, skipped = PROGRAMS[name]
    return read_table(engine, version).problems(words[skipped:])


def variants(engine: str) -> Iterator[Variant]:
    """Every two fields with every pair of their values, on each model; what the two leave is the base."""
    version, runtime = ENGINES[engine]
    for model, (one, other) in itertools.product(MODELS, itertools.combinations(VALUES, 2)):
        for values in itertools.product(VALUES[one], VALUES[other]):
            fields = {"quantization": Quantization.BF16, **dict(zip((one, other), values, strict=True))}
            yield Variant(
                engine=engine, engine_version=version, model=model, hardware="h200-sxm", runtime=runtime, **fields
            )


def emitted(engine: str) -> tuple[dict[tuple[str, ...], LaunchSpec], int]:
    """Each command once, with the spec that it is from; and how many variants were refused."""
    adapter, found, refused = ADAPTERS[engine], dict[tuple[str, ...], LaunchSpec](), 0
    for variant in variants(engine):
        try:
            launch, build = adapter.launch_spec(variant), adapter.build_spec(variant)
        except UnsupportedVariant:
            refused += 1
            continue
        found[launch.argv] = launch
        found |= dict.fromkeys(build.commands if build else (), launch)
    return found, refused


@pytest.mark.parametrize("engine", ENGINES)
def test_every_command_that_can_be_emitted_is_one_that_the_release_takes(engine: str) -> None:
    commands, refused = emitted(engine)
    assert refused
    assert len(commands) > 50
    assert [f"{argv}: {one}" for argv in commands for one in problems(argv)] == []


def test_the_engine_options_of_mlc_llm_are_words_of_its_own() -> None:
    table = read_table("mlc_llm.overrides", "0.20.0")
    said = {argv[argv.index("--overrides") + 1] for argv in emitted("mlc_llm")[0] if "--overrides" in argv}
    assert len(said) >= 3
    assert [one for text in said for one in table.problems([f"--{word}" for word in text.split(";")])] == []


def test_no_key_of_tensorrt_llm_is_both_an_option_and_in_its_file() -> None:
    """Which of the two wins differs between releases."""
    of_options = {"--tp_size": "tensor_parallel_size", "--pp_size": "pipeline_parallel_size"}
    of_options |= {"--ep_size": "moe_expert_parallel_size", "--extra_llm_api_options": ""}
    for argv, launch in emitted("tensorrt_llm")[0].items():
        options = {of_options.get(word, word.removeprefix("--")) for word in argv if word.startswith("--")}
        in_file = json.loads(dict(launch.files)["options.yaml"])
        assert not options & set(in_file)
        assert not options & {"free_gpu_memory_fraction", "kv_cache_free_gpu_memory_fraction"}


@pytest.mark.parametrize("version", ["1.3.0", "1.3.0rc15", "1.3.0rc22", "1.4.0rc1", "2.0"])
def test_a_compiled_engine_is_refused_after_the_last_release_that_has_one(version: str) -> None:
    (base,) = [v for v in variants("tensorrt_llm") if v.engine_backend == "tensorrt"][:1]
    ADAPTERS["tensorrt_llm"].launch_spec(base)
    with pytest.raises(UnsupportedVariant, match=r"1\.2\.1 is the last .* 1\.3\.0rc22") as refused:
        ADAPTERS["tensorrt_llm"].launch_spec(base.model_copy(update={"engine_version": version}))
    assert refused.value.field == "engine_backend"


def test_tuned_flags_are_those_that_the_releases_guide_gives_for_the_model_and_its_precision() -> None:
    base = next(v for v in variants("tensorrt_llm") if v.engine_backend == "tensorrt")
    tuned = base.model_copy(update={"engine_profile": "tuned", "tensor_parallel": 2})

    def flags(**changes: Any) -> set[str]:
        build = ADAPTERS["tensorrt_llm"].build_spec(tuned.model_copy(update=changes))
        assert build
        return {"--multiple_profiles", "--gemm_plugin", "--reduce_fusion"} & set(build.commands[-1])

    assert flags() == {"--multiple_profiles", "--gemm_plugin", "--reduce_fusion"}
    assert flags(tensor_parallel=1) == {"--multiple_profiles", "--gemm_plugin"}
    assert flags(quantization=Quantization.FP8) == {"--multiple_profiles", "--reduce_fusion"}
    assert flags(model=MODELS[2]) == {"--multiple_profiles", "--gemm_plugin"}
    assert flags(engine_profile="default") == set()


def test_a_tokenizer_comes_with_a_compiled_engine_and_its_weights_are_cut_for_its_gpus() -> None:
    base = next(v for v in variants("tensorrt_llm") if v.engine_backend == "tensorrt")
    adapter = ADAPTERS["tensorrt_llm"]
    build = adapter.build_spec(base)
    assert build
    assert "{model}/" + build.tokenizer_folder in adapter.launch_spec(base).argv
    on_eight = base.model_copy(update={"quantization": Quantization.FP8, "tensor_parallel": 8})
    assert adapter.checkpoint(on_eight) != adapter.checkpoint(on_eight.model_copy(update={"tensor_parallel": 1}))
