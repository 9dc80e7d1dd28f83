"""`dyno load`: the instrument alone, against a server that is already there."""

import json
import logging
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine_adapters.base import RequestDialect
from experiments.errors import InputError
from experiments.schema.load import (
    ArrivalProcess,
    ClosedLoop,
    Constant,
    Gamma,
    Load,
    LoadPoint,
    OpenLoop,
    Poisson,
    StopRule,
    Trace,
)
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO, parse_slo
from experiments.schema.workload import Workload
from tasks.loadgen.plan import TrialPlan

log = logging.getLogger("dyno.load")

GREEDY = RequestDialect(
    body={"temperature": 0.0, "top_p": 1.0},
    exact_output={"ignore_eos": True, "min_tokens": "{output_tokens}"},
)
"""Sampling is always sent, since defaults differ; what the server does not take is left out by the pre-flight."""


def server_root(url: str) -> str:
    """The server's root; a trailing /v1 is accepted. Raises InputError for what is no http or https URL."""
    root = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    if not root.startswith(("http://", "https://")):
        raise InputError(f"{url}: give the server's address, such as http://127.0.0.1:8000")
    return root


def load_of(concurrency: int | None, rate: float | None, arrivals: str | None, trace: Path | None) -> Load:
    """Exactly one of the three; raises InputError with what to give."""
    given = [
        name
        for name, value in (("--concurrency", concurrency), ("--rate", rate), ("--trace", trace))
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(f"give one of --concurrency, --rate and --trace, not {' and '.join(given) or 'none of them'}")
    if arrivals is not None and rate is None:
        raise InputError(f"--arrivals goes with --rate, not with {given[0]}")
    if concurrency is not None:
        return ClosedLoop(concurrency=concurrency)
    if trace is not None:
        return OpenLoop(arrivals=Trace(path=str(trace)), rate_rps=None)
    return OpenLoop(arrivals=arrivals_of(arrivals or "poisson"), rate_rps=rate)


def arrivals_of(text: str) -> ArrivalProcess:
    """constant, poisson or gamma:SHAPE."""
    kind, _, shape = text.partition(":")
    if kind == "gamma":
        with suppress(ValueError):
            return Gamma(shape=float(shape))
    if text == "constant":
        return Constant()
    if text == "poisson":
        return Poisson()
    raise InputError(f"--arrivals {text}: give constant, poisson or gamma:SHAPE with a shape above 0")


def stop_of(load: Load, requests: int | None, seconds: float | None, ramp_seconds: float) -> StopRule:
    """By requests or by seconds; a trace may run to its own end."""
    if isinstance(load, OpenLoop) and isinstance(load.arrivals, Trace) and requests is None and seconds is None:
        from tasks.loadgen.trace import read_trace

        requests = len(read_trace(load.arrivals.path).due_ns)
    if (requests is None) == (seconds is None):
        raise InputError("give either --requests or --seconds")
    if seconds is not None and ramp_seconds >= seconds:
        raise InputError(f"--ramp-seconds {ramp_seconds:g} leaves nothing of --seconds {seconds:g} to measure")
    return StopRule(requests=requests, seconds=seconds, ramp_s=ramp_seconds)


def slos_of(texts: Sequence[str]) -> tuple[SLO, ...]:
    """Raises InputError for the first that is none."""
    try:
        return tuple(parse_slo(text) for text in texts)
    except ValueError as error:
        raise InputError(f"--slo {error}") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what is asked of the server, as they were written."""

    endpoint: str = "completions"
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    dataset: Path | None = None
    english: bool = False
    shared_prefix: str | None = None
    system_prompt: Path | None = None
    cache: str | None = None
    hot_prompts: int | None = None
    json_schema: Path | None = None


def workload_of(load: Load, asked: Asked) -> Workload:
    """A trace and a dataset bring their own lengths, and may do without these. Raises InputError."""
    has_lengths = isinstance(load, OpenLoop) and isinstance(load.arrivals, Trace)
    fallback: object = {"kind": "data"} if asked.dataset is not None else 1 if has_lengths else None
    prompt = length_of("--prompt-tokens", asked.prompt_tokens) or fallback
    output = length_of("--output-tokens", asked.output_tokens) or fallback
    if prompt is None or output is None:
        raise InputError("give --prompt-tokens and --output-tokens")
    fields = {"endpoint": asked.endpoint, "prompt_tokens": prompt, "output_tokens": output, **_content(asked)}
    try:
        return Workload.model_validate({"name": "load", **fields})
    except ValidationError as error:
        raise InputError("\n".join(_complaint(item) for item in error.errors())) from None


def _content(asked: Asked) -> dict[str, object]:
    """The fields beyond lengths, where they were given."""
    fields: dict[str, object] = {}
    if asked.dataset is not None and asked.english:
        raise InputError("give either --dataset or --english")
    if asked.dataset is not None:
        fields["prompts"] = {"kind": "dataset", "path": str(asked.dataset)}
    if asked.english:
        fields["prompts"] = {"kind": "english"}
    if asked.shared_prefix is not None:
        fields |= {"shared_prefix": shared_prefix_of(asked.shared_prefix), "cache": "shared"}
    if asked.system_prompt is not None:
        fields |= {"system_prompt": _text("--system-prompt", asked.system_prompt).strip(), "cache": "shared"}
    if asked.cache is not None:
        fields["cache"] = asked.cache
    if asked.hot_prompts is not None:
        fields["hot_prompts"] = asked.hot_prompts
    if asked.json_schema is not None:
        fields["json_schema"] = _json("--json-schema", asked.json_schema)
    return fields


def length_of(option: str, text: str | None) -> object:
    """128, 100-200, uniform:100,200, normal:MEAN,STD[,MIN,MAX], lognormal:MEDIAN,SIGMA[,MIN,MAX], data[:MAX] or
    natural[:MAX], as the schema has it."""
    if text is None:
        return None
    kind, _, rest = text.strip().partition(":")
    if (span := _SPAN.fullmatch(kind)) and not rest:
        return {"kind": "uniform", "min": int(span[1]), "max": int(span[2])}
    names = _PARAMETERS.get(kind)
    values = [value.strip() for value in rest.split(",")] if rest else []
    try:
        if names is None:
            return int(text)
        if not names[0] <= len(values) <= len(names[1]):
            raise ValueError
        return {"kind": kind, **{name: float(value) for name, value in zip(names[1], values, strict=False)}}
    except ValueError:
        forms = "128, 100-200, normal:MEAN,STD, lognormal:MEDIAN,SIGMA (both with ,MIN,MAX behind), data or natural"
        raise InputError(f"{option} {text}: give a number of tokens or a distribution: {forms}") from None


_SPAN = re.compile(r"(\d+)-(\d+)")
_PARAMETERS: dict[str, tuple[int, tuple[str, ...]]] = {
    "uniform": (2, ("min", "max")),
    "normal": (2, ("mean", "std", "min", "max")),
    "lognormal": (2, ("median", "sigma", "min", "max")),
    "data": (0, ("max",)),
    "natural": (0, ("max",)),
}
"""How many parameters a distribution needs at least, and their names in the order in which they are written."""


def shared_prefix_of(text: str) -> dict[str, object]:
    """TOKENS:SHARE[:GROUPS], such as 512:0.5:4."""
    parts = text.split(":")
    try:
        if not 2 <= len(parts) <= 3:
            raise ValueError
        groups = int(parts[2]) if len(parts) == 3 else 1
        return {"tokens": int(parts[0]), "share": float(parts[1]), "groups": groups}
    except ValueError:
        raise InputError(
            f"--shared-prefix {text}: give TOKENS:SHARE or TOKENS:SHARE:GROUPS, such as 512:0.5:4"
        ) from None


def _text(option: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {path}: cannot be read: {error}") from error


def _json(option: str, path: Path) -> object:
    try:
        return json.loads(_text(option, path))
    except ValueError as error:
        raise InputError(f"{option} {path}: not JSON: {error}") from error


def _complaint(item: Any) -> str:
    """With the option where one field is at fault; a contradiction between several says itself what it is."""
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"--{str(item['loc'][0]).replace('_', '-')}: {message}" if item["loc"] else message


def checked(make: Any, **fields: Any) -> Any:
    """`make(**fields)`, with pydantic's complaints turned into one line each that names the option."""
    try:
        return make(**fields)
    except ValidationError as error:
        lines = (
            f"--{str(item['loc'][-1]).removesuffix('_rps').replace('_', '-')}: {item['msg']}" for item in error.errors()
        )
        raise InputError("\n".join(lines)) from None


def measure(point: LoadPoint, plan: TrialPlan, slos: tuple[SLO, ...], out: Path | None) -> PointResult:
    """Pre-flight, trial, statistics. `out` receives requests.parquet and trial.json; without it nothing is kept."""
    from tasks.load_point import measure_point
    from tasks.loadgen.preflight import run_preflight

    preflight = run_preflight(plan)
    for finding in preflight.findings:
        log.warning("%s", finding)
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dyno-load-")))
        return measure_point(point, plan, preflight, folder, slos)


def point_of(load: Load, stop: StopRule) -> LoadPoint:
    """The one point of `dyno load`."""
    return LoadPoint(step=0, role="open_loop" if load.kind == "open_loop" else "saturation", load=load, stop=stop)
