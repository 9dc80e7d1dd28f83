"""`dyno bounds` and `dyno cost`: what the hardware would allow, and what tokens and a demand cost."""

import json
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.errors import InputError

if TYPE_CHECKING:
    from experiments.schema.hardware import Hardware
    from experiments.schema.result import CellResult
    from tasks.analysis.bounds import Subject

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Prices = Annotated[
    Path | None, typer.Option(help="YAML of hardware: US dollars an hour; default: the file that DYNO_PRICES names")
]
KVType = StrEnum("KVType", ["f16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "q8_0", "q4_0"])
BATCHES = tuple(2**power for power in range(10))


def bounds(
    model: Annotated[
        str, typer.Argument(help="a name of the catalog, or a folder with a config.json", metavar="MODEL")
    ],
    hardware: Annotated[str, typer.Option(help="a name of the catalog")],
    quantization: Annotated[str, typer.Option(help="of the weights: bf16, fp8, int4_awq, q4_k_m, …")] = "bf16",
    kv_cache_dtype: Annotated[KVType | None, typer.Option(help="default: 16 bits")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="tensor parallel; default: all of the hardware")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 1024,
    output_tokens: Annotated[int, typer.Option(min=1)] = 128,
    memory_fraction: Annotated[float, typer.Option(min=0.01, max=1, help="that weights and KV may take")] = 0.9,
    as_json: Json = False,
) -> None:
    """Shows what memory bandwidth, arithmetic and memory allow a model on hardware at best."""
    from tasks.analysis.bounds import NoBound, cell_bounds
    from tasks.reporting.bounds_table import bounds_table

    asked = {"quantization": quantization, "kv_cache_dtype": kv_cache_dtype.value if kv_cache_dtype else None}
    try:
        subject = _subject(model, hardware, gpus, {**asked, "gpu_memory_fraction": memory_fraction})
    except NoBound as no:
        raise InputError(f"{model} on {hardware}: {no}") from no
    found = cell_bounds(subject, prompt_tokens=prompt_tokens, context_tokens=prompt_tokens + output_tokens)
    steps = [_step(subject, batch, prompt_tokens, output_tokens) for batch in BATCHES]
    body = {"model": model, **found.model_dump(mode="json"), "decode": steps}
    _show(body, as_json, bounds_table(body))


def cost(
    cell: Annotated[str, typer.Argument(help="a cell's id, or the first letters of it", metavar="CELL")],
    demand_rps: Annotated[float | None, typer.Option("--demand", min=0.000001, help="requests/s to serve")] = None,
    headroom: Annotated[float, typer.Option(min=0, max=0.95, help="share of the capacity that stays free")] = 0.2,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Shows what a measured cell's tokens cost, and the replicas and dollars a day that a demand takes."""
    from tasks.reporting.bounds_table import cost_table

    result = _found(cell)
    body = cost_body(result, own_prices_of(prices), demand_rps=demand_rps, headroom=headroom)
    _show(body, as_json, cost_table(body))


def own_prices_of(file: Path | None) -> dict[str, float]:
    """Of --prices, else of DYNO_PRICES. Raises InputError."""
    from experiments.schema.prices import own_prices, read_prices

    return read_prices(file) if file is not None else own_prices(os.environ)


def cost_body(
    cell: "CellResult", prices: Mapping[str, float], *, demand_rps: float | None, headroom: float
) -> dict[str, Any]:
    """The cost of a cell under these prices, and what the demand takes at each SLO's certified capacity."""
    from experiments.schema.prices import price_of
    from tasks.analysis.cost import with_cost

    hardware = _hardware(cell.variant.hardware)
    weighed = with_cost(cell, hardware, prices)
    assert weighed.cost is not None
    names = {"cell_id": cell.cell_id, "variant": cell.variant.label, "workload": cell.workload.name}
    body: dict[str, Any] = {**names, "hardware": hardware.name, **weighed.cost.model_dump(mode="json")}
    if demand_rps is not None:
        price = price_of(hardware, prices)
        body["demand"] = _demands(cell, hardware, price, demand_rps, headroom)
    return body


def _demands(
    cell: "CellResult", hardware: "Hardware", price: Any, demand_rps: float, headroom: float
) -> dict[str, Any]:
    from dataclasses import asdict

    from tasks.analysis.cost import replicas_for

    sized: dict[str, Any] = {}
    for capacity in cell.capacities:
        if capacity.certified_rps is None:
            sized[capacity.name] = {"reason": f"{capacity.verdict}: {capacity.reason}"}
            continue
        residence = _residence_s(cell, capacity.certified_rps)
        facts: dict[str, Any] = {"headroom": headroom, "gpus": hardware.gpus, "price": price, "residence_s": residence}
        sized[capacity.name] = asdict(replicas_for(demand_rps, capacity.certified_rps, **facts))
    return {"demand_rps": demand_rps, "headroom": headroom, "at": sized}


def _residence_s(cell: "CellResult", rate_rps: float) -> float | None:
    """Mean time of a request at the certified rate; an upper one where the fleet runs with headroom."""
    for point in cell.points:
        load, latency = point.point.load, point.summary.latencies.get("e2e_ms")
        if load.kind == "open_loop" and load.rate_rps == rate_rps and latency and latency.mean is not None:
            return latency.mean / 1e3
    return None


def _subject(model: str, hardware: str, gpus: int | None, fields: Mapping[str, Any]) -> "Subject":
    from experiments.schema.model import LocalSource, Model
    from experiments.schema.variant import Quantization, Variant
    from flows.diagnosis import known_here
    from tasks.analysis.bounds import subject_of

    if fields["quantization"] not in set(Quantization):
        raise InputError(f"--quantization {fields['quantization']}: choose from {', '.join(Quantization)}")
    machine = _hardware(hardware)
    if gpus is not None and gpus > max(machine.gpus, 1):
        raise InputError(f"--gpus {gpus}: {hardware} has {machine.gpus}")
    named = Model(name="model", source=LocalSource(kind="local", path=model))
    parallel = gpus or max(machine.gpus, 1)
    variant = Variant(
        engine="any", engine_version="1", model=named, hardware=hardware, tensor_parallel=parallel, **fields
    )
    return subject_of(variant, machine, _config(model), known_here())


def _config(model: str) -> dict[str, Any]:
    from experiments.schema.read import catalog, nearest
    from tasks.artifacts.model_files import read_config

    known = catalog("model_shapes")
    if model in known:
        found: dict[str, Any] = known[model]["config"]
        return found
    config = read_config(Path(model).expanduser())
    if config is None:
        raise InputError(f"{model} is no model of the catalog, nor a folder with a config.json.{nearest(model, known)}")
    return config


def _hardware(name: str) -> "Hardware":
    from experiments.schema.hardware import Hardware
    from experiments.schema.read import catalog, nearest

    known = catalog("hardware")
    if name not in known:
        raise InputError(f"unknown hardware {name!r}.{nearest(name, known)}")
    return Hardware.model_validate(known[name])


def _step(subject: "Subject", batch: int, prompt_tokens: int, output_tokens: int) -> dict[str, float | bool]:
    """At the mean context of such requests."""
    step_s = subject.roofline.decode_step_s(batch, prompt_tokens + output_tokens / 2)
    largest = subject.largest_batch(prompt_tokens + output_tokens)
    return {
        "batch": batch,
        "step_ms": 1e3 * step_s,
        "tokens_per_s": batch / step_s,
        "fits": largest is None or batch <= largest,
    }


def _found(prefix: str) -> "CellResult":
    from tasks.campaigns.campaign import all_results
    from tasks.campaigns.home import open_home

    home = open_home()
    results: Sequence[CellResult] = [r for r in all_results(home.campaigns) if prefix and r.cell_id.startswith(prefix)]
    matches = {result.cell_id: result for result in results}
    if len(matches) != 1:
        which = ", ".join(sorted(matches)[:8])
        raise InputError(f"{prefix!r} begins the ids of {len(matches)} cells in {home.root}. {which}".rstrip())
    return next(iter(matches.values()))


def _show(body: Mapping[str, Any], as_json: bool, table: object) -> None:
    if as_json:
        print(json.dumps(body, indent=1, ensure_ascii=False))
        return
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 100, highlight=False).print(table)
