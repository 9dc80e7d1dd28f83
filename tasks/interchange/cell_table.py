"""A row a cell of a campaign: what it is, what became of it, and its headlines."""

from collections.abc import Iterator, Sequence

from experiments.redaction import redacted
from experiments.schema.bound import CellCost
from experiments.schema.facets import load_facets, workload_facets
from experiments.schema.result import CellResult
from tasks.interchange.quality_columns import quality_columns, quality_row
from tasks.interchange.table import Column, Row, Table, Value, explained, figure, make_table, text

HEADLINES = {
    "floor_ttft_p50_ms": ("median TTFT, one request at a time", "ms"),
    "saturation_rps": ("requests completed a second where output throughput stops growing", "requests/s"),
    "saturation_output_tokens_per_s": ("output tokens a second where it stops growing", "tokens/s"),
}
COSTS = {
    "saturation_device_seconds_per_million_tokens": (
        "of all tokens at saturation; device_seconds_of says of what",
        "s",
    ),
    "saturation_usd_per_million_tokens_low": ("of all tokens at saturation, at the lower price", "USD"),
    "saturation_usd_per_million_tokens_high": ("of all tokens at saturation, at the higher price", "USD"),
}
BOUNDS = {
    "latency_floor_ms": ("least time between two tokens of one request that the hardware allows", "ms"),
    "critical_batch": ("batch above which decoding is bound by compute (B*)", "requests"),
    "largest_batch": ("requests whose KV cache fits beside the weights", "requests"),
}


def keyed(cells: Sequence[CellResult]) -> list[tuple[str, CellResult]]:
    """Each with its key: CAMPAIGN/CELL."""
    return [(f"{cell.campaign}/{cell.cell_id}", cell) for cell in cells]


def _identity() -> Iterator[Column]:
    yield text("cell", "the key of the row: CAMPAIGN/CELL_ID")
    yield text("cell_id", "equal for equal questions, on every machine")
    yield text("experiment", "the experiment file")
    yield text("campaign", "the round of measurements")
    yield Column("is_latest", "flag", "whether no later campaign of these has the same cell")
    yield Column("launch", "integer", "number of the latest launch")
    yield Column("launches", "integer", "ways through the load plan")
    yield text("variant_id", "equal for equal systems")
    for name in ("engine", "engine_version", "engine_backend", "model", "quantization", "hardware", "runtime"):
        yield text(name, f"the variant's {name.replace('_', ' ')}")
    for name in ("tensor_parallel", "pipeline_parallel", "expert_parallel"):
        yield Column(name, "integer", f"the variant's {name.replace('_', ' ')}", "GPUs")
    yield text("workload", "the workload's name")


def _facets() -> Iterator[Column]:
    yield text("input_tokens", "length of the prompts, as asked")
    yield text("output_tokens", "length of the answers, as asked")
    yield Column("longest_input_tokens", "integer", "longest prompt", "tokens")
    yield Column("longest_output_tokens", "integer", "longest answer", "tokens")
    yield text("dataset", "where the prompts come from")
    yield text("endpoint", "completions, or chat: through the chat template")
    yield text("system_prompt", "yes or no")
    yield Column("system_prompt_characters", "integer", "length of the system prompt", "characters")
    yield text("prompt_cache", "what prompts let the server reuse: cold, shared, hot")
    yield Column("shared_prefix_tokens", "integer", "length of the common prefix", "tokens")
    yield Column("shared_prefix_share", "number", "share of the requests that begin with it", "share of 1")
    yield Column("turns", "integer", "requests of the longest conversation", "turns")
    yield text("answers", "whether answers are held to a length")
    yield text("arrivals", "closed_loop and arrival processes of its points")
    yield text("users", "concurrencies of its closed-loop points")


def _outcome() -> Iterator[Column]:
    yield text("state", "measured, invalid, failed, unsupported, interrupted")
    yield text("grade", "A to F")
    yield text("reasons", "what keeps it from grade A")
    yield text("stage", "where it failed")
    yield text("failure_class", "the class of its failure")
    yield text("cause", "why it failed")
    yield Column("point_count", "integer", "load points", "points")
    yield Column("valid_point_count", "integer", "those that count", "points")
    for name, meaning in HEADLINES.items():
        yield figure(name, *meaning)
        for side in ("low", "high"):
            yield Column(f"{name}_{side}", "number", f"{side} end of the 95 % interval between launches", meaning[1])
    for name, meaning in (COSTS | BOUNDS).items():
        yield figure(name, *meaning)
    yield text("device_seconds_of", "GPU-seconds or machine-seconds")
    yield text("started_at", "ISO 8601")
    yield text("ended_at", "ISO 8601")
    yield text("mlflow_run_id", "the cell's run")


def cell_table(cells: Sequence[tuple[str, CellResult]]) -> Table:
    """Of cells with their keys; where a cell stands in several campaigns, the last of them is its latest."""
    latest = {cell.cell_id: key for key, cell in cells}
    rows = [_row(key, cell, is_latest=latest[cell.cell_id] == key) for key, cell in cells]
    columns = (*_identity(), *_facets(), *_outcome(), *quality_columns())
    return make_table("cells", "a row a cell (variant × workload) of a campaign", columns, rows, key="cell")


def _row(key: str, cell: CellResult, *, is_latest: bool) -> Row:
    variant, workload = cell.variant, cell.workload
    own = ("engine", "engine_version", "engine_backend", "runtime", "hardware")
    parallel = ("tensor_parallel", "pipeline_parallel", "expert_parallel")
    row: Row = {name: getattr(variant, name) for name in (*own, *parallel)}
    row |= {name: getattr(cell, name) for name in ("cell_id", "experiment", "campaign", "launch", "grade", "stage")}
    row |= {"cell": key, "is_latest": is_latest, "launches": max(1, len(cell.launches)), "variant_id": variant.id}
    row |= {"model": variant.model.name, "quantization": variant.quantization.value, "workload": workload.name}
    row |= {"state": cell.state.value, "failure_class": cell.failure_class.value if cell.failure_class else None}
    row |= {"reasons": _clean("; ".join(cell.reasons)), "cause": _clean(cell.cause)}
    row |= {"point_count": len(cell.points), "valid_point_count": sum(point.summary.valid for point in cell.points)}
    row |= {"longest_input_tokens": workload.longest_prompt_tokens}
    row |= {"longest_output_tokens": workload.longest_output_tokens}
    row |= {name: getattr(cell, name) for name in ("started_at", "ended_at", "mlflow_run_id")}
    row |= workload_facets(workload) | load_facets(point.point.load for point in cell.points)
    return row | _headlines(cell) | _costs(cell.cost) | _bounds(cell) | quality_row(cell)


def _clean(said: str) -> str:
    return str(redacted(said))


def _headlines(cell: CellResult) -> Row:
    why = (_clean(cell.cause) or _clean("; ".join(cell.reasons))) or f"the cell is {cell.state.value}"
    row = explained({name: cell.headlines.get(name) for name in HEADLINES}, cell.headline_reasons, why)
    for name in HEADLINES:
        told = cell.between_launches.get(name)
        row |= {f"{name}_low": told.low if told else None, f"{name}_high": told.high if told else None}
    return row


def _costs(cost: CellCost | None) -> Row:
    saturation = cost.saturation if cost else None
    low, high = (saturation.usd_total if saturation else None) or (None, None)
    figures = dict(zip(COSTS, (saturation.total if saturation else None, low, high), strict=True))
    reasons = "; ".join(cost.reasons.values()) if cost else ""
    return explained(figures, {}, reasons or "no price is known") | {"device_seconds_of": cost.unit if cost else None}


def _bounds(cell: CellResult) -> Row:
    told = cell.bounds
    figures: dict[str, Value] = {name: getattr(told, name) if told else None for name in BOUNDS}
    return explained(figures, told.reasons if told else {}, cell.bound_reason or "no bound is known")
