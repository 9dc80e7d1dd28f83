"""`dyno load`: the instrument alone, against a server that is already there."""

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from engine_adapters.base import RequestDialect
from experiments.errors import InputError
from experiments.schema.conversation import Conversation
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


def server_and_model(url: str | None, model: str | None) -> tuple[str, str]:
    """Both; raises InputError with what is missing."""
    missing = [name for name, value in (("URL", url), ("--model", model)) if value is None]
    if url is None or model is None:
        raise InputError(f"give {' and '.join(missing)} of the server, or --import FILE")
    return url, model


def server_root(url: str) -> str:
    """The server's root; a trailing /v1 is accepted. Raises InputError, which repeats no password, for anything that
    cannot be sent as it stands."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"{_without_user(text)}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InputError(f"{_without_user(text)}: give the server's address, such as http://127.0.0.1:8000")
    if "@" in parts.netloc:
        raise InputError(
            f"{_without_user(text)}: leave user and password out; --api-key-env names a variable with a key"
        )
    if parts.query or parts.fragment:
        raise InputError(f"{text}: leave out what follows the path: only the server's root is wanted")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"


def _without_user(url: str) -> str:
    scheme, _, rest = url.rpartition("@")[0].partition("://")
    return url if not scheme or "@" not in url else f"{scheme if rest else ''}://{url.rpartition('@')[2]}".lstrip(":/")


def api_key_variable(name: str) -> str:
    """The variable's name again. Raises InputError where it holds nothing that can stand in a header."""
    key = os.environ.get(name, "").strip() if name else "unneeded"
    if not key:
        raise InputError(f"--api-key-env {name}: this environment variable is to hold the API key, and is not set")
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"--api-key-env {name}: what it holds is no API key: it has line breaks or letters beyond ASCII"
        )
    return name


def folder_for(out: Path | None) -> Path | None:
    """`--out`, made if need be. Raises InputError where nothing can be written there, before anything is measured."""
    if out is None:
        return None
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to: {error.strerror}") from None
    (out / "trial.json").unlink(missing_ok=True)  # it would stand beside the records of another trial
    return out


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
class Content:
    """The options that say what is asked of the server, beyond lengths, as they were written."""

    dataset: Path | None = None
    english: bool = False
    shared_prefix: str | None = None
    system_prompt: Path | None = None
    cache: str | None = None
    hot_prompts: int | None = None
    json_schema: Path | None = None
    conversation: Conversation | None = None


def workload_of(
    load: Load,
    endpoint: str,
    prompt_tokens: int | str | None,
    output_tokens: int | str | None,
    content: Content | None = None,
) -> Workload:
    """A dataset brings its own lengths, a trace may; what neither has is to be given. Raises InputError."""
    content = content or Content()
    prompt, output = length_of("--prompt-tokens", prompt_tokens), length_of("--output-tokens", output_tokens)
    missing = {"--prompt-tokens": prompt is None, "--output-tokens": output is None}
    if isinstance(load, OpenLoop) and isinstance(load.arrivals, Trace):
        from tasks.loadgen.trace import read_trace

        trace = read_trace(load.arrivals.path)
        missing["--prompt-tokens"] &= trace.prompt_tokens is None
        missing["--output-tokens"] &= trace.output_tokens is None
    if any(missing.values()) and content.dataset is None:
        raise InputError(f"give {' and '.join(name for name, is_missing in missing.items() if is_missing)}")
    own: object = {"kind": "data"} if content.dataset is not None else 1
    lengths = {"prompt_tokens": own if prompt is None else prompt, "output_tokens": own if output is None else output}
    fields = {"endpoint": endpoint, **lengths, **_fields(content)}
    try:
        return Workload.model_validate({"name": "load", **fields})
    except ValidationError as error:
        raise InputError("\n".join(_complaint(item) for item in error.errors())) from None


def _fields(content: Content) -> dict[str, object]:
    """The fields beyond lengths, where they were given."""
    fields: dict[str, object] = {}
    if content.dataset is not None and content.english:
        raise InputError("give either --dataset or --english")
    if content.dataset is not None:
        fields["prompts"] = {"kind": "dataset", "path": str(content.dataset)}
    if content.english:
        fields["prompts"] = {"kind": "english"}
    if content.shared_prefix is not None:
        fields |= {"shared_prefix": shared_prefix_of(content.shared_prefix), "cache": "shared"}
    if content.system_prompt is not None:
        fields |= {"system_prompt": _text("--system-prompt", content.system_prompt).strip(), "cache": "shared"}
    if content.cache is not None:
        fields["cache"] = content.cache
    if content.hot_prompts is not None:
        fields["hot_prompts"] = content.hot_prompts
    if content.json_schema is not None:
        fields["json_schema"] = _json("--json-schema", content.json_schema)
    if content.conversation is not None:
        fields["conversation"] = content.conversation
    return fields


def length_of(option: str, text: int | str | None) -> object:
    """128, 100-200, uniform:100,200, normal:MEAN,STD[,MIN,MAX], lognormal:MEDIAN,SIGMA[,MIN,MAX], data[:MAX] or
    natural[:MAX], as the schema has it."""
    if text is None or isinstance(text, int):
        return text
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


def conversation_of(load: Load, turns: int | None, think_seconds: float | None) -> Conversation | None:
    """None without --turns. A trace replays single requests."""
    if turns is None:
        if think_seconds is not None:
            raise InputError("--think-seconds goes with --turns")
        return None
    if isinstance(load, OpenLoop) and isinstance(load.arrivals, Trace):
        raise InputError("--turns goes with --concurrency or --rate, not with --trace")
    return Conversation(turns=turns, think_time_s=think_seconds or 0.0)


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
    """Pre-flight, trial, statistics. `out` receives requests.parquet, trial.json and what the engine's metrics
    told, where they are those of an engine that we know; without it nothing is kept."""
    from tasks.load_point import measure_point
    from tasks.loadgen.preflight import run_preflight
    from tasks.recognize import recognized_metrics

    preflight = run_preflight(plan)
    plan = replace(plan, metric_names=recognized_metrics(plan.endpoint))
    for finding in preflight.findings:
        log.warning("%s", finding)
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dyno-load-")))
        return measure_point(point, plan, preflight, folder, slos)


@contextmanager
def told_if_stopped(out: Path | None, print_json: Callable[[dict[str, object]], None] | None) -> Iterator[None]:
    """Ctrl-C goes on its way; with `--json` a document says first that nothing was computed, and where the records of
    what was received lie: null where none are kept."""
    before = _written_ns(out)
    try:
        yield
    except KeyboardInterrupt:
        if print_json is not None:
            kept = str(out / "requests.parquet") if out is not None and _written_ns(out) != before else None
            reasons = ["stopped before its end"]
            print_json({"interrupted": True, "valid": False, "invalid_reasons": reasons, "records": kept})
        raise


def _written_ns(out: Path | None) -> int:
    """When the records of that folder were written: those of an earlier trial may lie there. 0: there are none."""
    records = (out or Path()) / "requests.parquet"
    return records.stat().st_mtime_ns if out is not None and records.is_file() else 0


def point_of(load: Load, stop: StopRule) -> LoadPoint:
    """The one point of `dyno load`."""
    return LoadPoint(step=0, role="open_loop" if load.kind == "open_loop" else "saturation", load=load, stop=stop)
