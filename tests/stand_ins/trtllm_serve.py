"""Stands where `trtllm-serve` 1.2.1 would run, compiled or on PyTorch: its options, its file of options, its endpoints,
and its refusal of every field that its protocol lacks; no model."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arguments import begin, say  # type: ignore[import-not-found]
from serving import Counted, Dialect, Refused, Reply, serve, tokenizer_of, told  # type: ignore[import-not-found]

VERSION = "1.2.1"
FIELDS = frozenset(
    """
    model prompt messages best_of echo frequency_penalty logit_bias logprobs top_logprobs max_tokens n seed stop
    max_completion_tokens presence_penalty stream stream_options suffix temperature top_p user use_beam_search top_k
    top_p_min min_p repetition_penalty length_penalty early_stopping ignore_eos min_tokens skip_special_tokens
    spaces_between_special_tokens truncate_prompt_tokens stop_token_ids include_stop_str_in_output detokenize
    return_context_logits prompt_ignore_length add_special_tokens response_format disaggregated_params
    """.split()  # noqa: SIM905
)
"""Of CompletionRequest and ChatCompletionRequest, which forbid all others."""

OF_BOTH = frozenset({"kv_cache_config", "return_perf_metrics", "enable_chunked_prefill"})
OF_PYTORCH = frozenset({"enable_iter_perf_stats", "print_iter_log", "stream_interval", "dtype", "load_format"})
OPTIONS = {"tensorrt": OF_BOTH, "pytorch": OF_BOTH | OF_PYTORCH | {"speculative_config"}}
"""Of the file of options, by back end: those that the adapter may write and the engine has."""

METRICS = """# TYPE trtllm_request_success counter
trtllm_request_success_total{{engine_type="stand_in",finished_reason="length"}} {requests}
# TYPE trtllm_kv_cache_utilization gauge
trtllm_kv_cache_utilization{{engine_type="stand_in"}} 0.25
"""


def check(body: Mapping[str, Any]) -> None:
    unknown = sorted(body.keys() - FIELDS)
    if unknown:
        raise Refused(400, f"Extra inputs are not permitted: {', '.join(unknown)}")


def error(refused: Refused) -> dict[str, Any]:
    return {"object": "error", "message": str(refused), "type": refused.kind, "param": None, "code": refused.status}


def metrics(counted: Counted) -> Callable[[], Reply]:
    return lambda: (200, "text/plain; version=0.0.4", METRICS.format(**vars(counted)))


def options_of(path: str, backend: str) -> dict[str, Any]:
    """Those of the file; ends with the words of pydantic where it has one that this back end lacks."""
    options: dict[str, Any] = json.loads(Path(path).read_text())
    unknown = sorted(options.keys() - OPTIONS[backend])
    if unknown:
        say(f"pydantic_core.ValidationError: {unknown[0]}: Extra inputs are not permitted")
        sys.exit(1)
    return options


def model_of(given: Mapping[str, str], backend: str) -> Path:
    """The folder that has the tokenizer; an engine has to be one that trtllm-build wrote."""
    folder = Path(given["0"])
    if backend == "pytorch":
        return folder
    limits = json.loads((folder / "config.json").read_text())["build_config"]
    ranks = list(folder.glob("rank*.engine"))
    say(f"[TRT-LLM] [I] Engine of {len(ranks)} ranks, {json.dumps(limits)}")
    if len(ranks) != int(given.get("--tensor_parallel_size", "1")) * int(given.get("--pipeline_parallel_size", "1")):
        say("[TRT-LLM] [E] the engine is compiled for another number of GPUs")
        sys.exit(1)
    return Path(given["--tokenizer"])


def main() -> None:
    given = begin("tensorrt_llm", VERSION, sys.argv[1:], does="loads no model", refusal="Error: No such option: -")
    backend = given["--backend"]
    options, model = options_of(given["--config"], backend), model_of(given, backend)
    say(f"[TRT-LLM] [I] STAND-IN: not using the {backend} backend")
    counted = Counted()
    answers: dict[str, Callable[[], Reply]] = {
        "GET /health": lambda: (200, "text/plain", ""),
        "GET /version": told(200, {"version": VERSION}),
        "GET /v1/models": told(200, {"object": "list", "data": [{"id": Path(given["0"]).name, "object": "model"}]}),
        "GET /metrics": told(200, []),
    }
    if options.get("return_perf_metrics"):
        answers["GET /prometheus/metrics"] = metrics(counted)
    context = int(given.get("--max_seq_len", "2048"))
    serve(
        given["--host"],
        int(given["--port"]),
        Dialect(tokenizer_of(model), context, answers, check, error, {"logprobs": None}, counted=counted),
    )


if __name__ == "__main__":
    main()
