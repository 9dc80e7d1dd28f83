"""Plans of trials, for the tests of bodies and pre-flight."""

from pathlib import Path
from typing import Any, Literal

from engine_adapters.base import RequestDialect
from experiments.schema.load import ClosedLoop, StopRule
from experiments.schema.workload import Workload
from tasks.loadgen.plan import Endpoint, TrialPlan


def plan(
    url: str = "http://127.0.0.1:1",
    script: str = "",
    *,
    endpoint: Literal["completions", "chat"] = "completions",
    prompt_tokens: int = 100,
    output_tokens: int = 16,
    dialect: RequestDialect | None = None,
    tokenizer: Path | None = None,
    api_key_env: str = "",
    **more: Any,
) -> TrialPlan:
    return TrialPlan(
        endpoint=Endpoint(url, f"fake:{script}", api_key_env),
        dialect=dialect or RequestDialect(),
        workload=Workload(name="w", prompt_tokens=prompt_tokens, output_tokens=output_tokens, endpoint=endpoint),
        load=ClosedLoop(concurrency=1),
        stop=StopRule(requests=1),
        tokenizer=tokenizer,
        **{"timeout_s": 5.0, "seed": 3, **more},
    )
