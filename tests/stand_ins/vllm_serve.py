"""Stands where `vllm serve` 0.33.0 would run: its options, its endpoints, its streaming, its metrics; no model."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arguments import begin, say  # type: ignore[import-not-found]
from serving import Counted, Dialect, Refused, Reply, serve, tokenizer_of, told  # type: ignore[import-not-found]

VERSION = "0.33.0"
METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{name}"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="{name}"}} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="{name}"}} 0.25
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{{engine="0",model_name="{name}"}} {prompt_tokens}
# TYPE vllm:prompt_tokens_cached counter
vllm:prompt_tokens_cached_total{{engine="0",model_name="{name}"}} 0.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{{engine="0",model_name="{name}"}} {output_tokens}
# TYPE vllm:num_preemptions counter
vllm:num_preemptions_total{{engine="0",model_name="{name}"}} 0.0
"""


def error(refused: Refused) -> dict[str, Any]:
    return {"error": {"message": str(refused), "type": refused.kind, "param": None, "code": refused.status}}


def metrics(name: str, counted: Counted) -> Callable[[], Reply]:
    return lambda: (200, "text/plain; version=0.0.4", METRICS.format(name=name, **vars(counted)))


def known_model(name: str) -> Callable[[Mapping[str, Any]], None]:
    def check(body: Mapping[str, Any]) -> None:
        if body.get("model") != name:
            raise Refused(404, f"The model `{body.get('model')}` does not exist.", "NotFoundError")

    return check


def profiling(config: str) -> dict[str, Callable[[], Reply]]:
    """There with --profiler-config only; the trace says what it is."""
    if not config:
        return {}
    folder = Path(json.loads(config)["torch_profiler_dir"])

    def stop() -> Reply:
        event = {"name": "STAND-IN: no kernel ran", "ph": "X", "ts": 0, "dur": 1, "pid": 0, "tid": 0}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rank0.pt.trace.json").write_text(json.dumps({"traceEvents": [event]}))
        return 200, "application/json", ""

    return {"POST /start_profile": told(200, None), "POST /stop_profile": stop}


def main() -> None:
    given = begin("vllm", VERSION, sys.argv[1:], does="loads no model", refusal="vllm serve: error")
    model, name = Path(given["0"]), given["--served-model-name"]
    limit = json.loads((model / "config.json").read_text())["max_position_embeddings"]
    context = int(given.get("--max-model-len", limit))
    if context > limit:
        say(f"ValueError: max_model_len ({context}) is greater than the derived max_model_len ({limit})")
        sys.exit(1)
    say("INFO Using STAND_IN attention backend out of potential backends: ('STAND_IN',)")
    say("INFO Loading weights took 0.02 seconds")
    say("INFO Graph capturing finished in 0.01 secs, took 0.00 GiB")
    counted, card = Counted(), {"id": name, "object": "model", "owned_by": "vllm", "max_model_len": context}
    is_dev = os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
    answers = {
        "GET /health": lambda: (200, "text/plain", ""),
        "GET /version": told(200, {"version": VERSION}),
        "GET /v1/models": told(200, {"object": "list", "data": [card]}),
        "GET /metrics": metrics(name, counted),
        **({"POST /reset_prefix_cache": told(200, {"success": True})} if is_dev else {}),
        **profiling(given.get("--profiler-config", "")),
    }
    dialect = Dialect(
        tokenizer=tokenizer_of(model),
        context_tokens=context,
        answers=answers,
        check=known_model(name),
        error=error,
        choice={"logprobs": None, "stop_reason": None},
        tells_cached="--enable-prompt-tokens-details" in given,
        tells_ids=True,
        counted=counted,
    )
    serve(given["--host"], int(given["--port"]), dialect)


if __name__ == "__main__":
    main()
