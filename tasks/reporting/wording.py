"""How figures and variants are written for people: three significant digits, units, and only what differs."""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, log10

from experiments.schema.load import ClosedLoop, Gamma
from experiments.schema.model import SyntheticSource
from experiments.schema.quality import QualityResult
from experiments.schema.result import Capacity, CellResult, PointResult
from experiments.schema.slo import parse_slo
from experiments.schema.variant import Variant

NONE = "–"


def number(value: float, digits: int = 3) -> str:
    """Significant digits, never an exponent, thousands set apart: 1,345 or 84.1 or 0.0123."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{round(value, digits - 1 - floor(log10(abs(value)))):,.{decimals}f}"


def capacity_text(capacity: Capacity) -> str:
    """The certified rate; "≥ x" where nothing above it was refuted; "< y" where none below it was certified."""
    if capacity.certified_rps is not None:
        return f"{'' if capacity.refuted_rps is not None else '≥ '}{number(capacity.certified_rps)}"
    if capacity.refuted_rps is not None:
        return f"< {number(capacity.refuted_rps)}"
    return "unknown"


def outcome_text(cell: CellResult) -> str:
    """The state, with the class of what failed: "failed, out of memory"."""
    state = cell.state.value.replace("_", "-")
    return f"{state}, {cell.failure_class.replace('_', ' ')}" if cell.failure_class else state


def slo_text(slo: str) -> str:
    """ttft:p95<300ms as people say it: p95 TTFT under 300 ms."""
    found = parse_slo(slo)
    return f"p{found.percentile:g} {latency_text(found.metric)} under {found.bound_ms:g} ms"


def latency_text(metric: str) -> str:
    """ttft_response is TTFT from due."""
    return metric.replace("_response", "").upper() + (" from due" if metric.endswith("_response") else "")


def load_text(point: PointResult) -> str:
    """What load a point was."""
    load = point.point.load
    if isinstance(load, ClosedLoop):
        return f"{load.concurrency} at a time"
    if load.rate_rps is None:
        return "trace"
    shape = f" {load.arrivals.shape:g}" if isinstance(load.arrivals, Gamma) else ""
    return f"{number(load.rate_rps)} rps {load.arrivals.kind}{shape}"


def variant_names(variants: Iterable[Variant]) -> dict[str, str]:
    """By variant id: the fields in which the variants differ, or the quantization where there is only one. A stand-in
    is always named as one."""
    every = list({variant.id: variant for variant in variants}.values())
    facts = {variant.id: _facts(variant) for variant in every}
    differing = [field for field in _fields(facts.values()) if len({f.get(field) for f in facts.values()}) > 1]
    stood_in = ["engine"] if any(variant.stand_in for variant in every) and "engine" not in differing else []
    shown = [*stood_in, *(differing or ["quantization"])]
    return {
        id_: " · ".join(fact[field] for field in shown if fact.get(field)) or "default" for id_, fact in facts.items()
    }


FLAGGED = "quality flagged"


def cell_names(cells: Iterable[CellResult]) -> dict[str, str]:
    """As `variant_names`; a variant whose quality is past the experiment's limit bears that wherever it is named."""
    every = list(cells)
    flagged = {cell.variant.id for cell in every if cell.quality is not None and cell.quality.is_flagged}
    names = variant_names(cell.variant for cell in every)
    return {id_: f"{name} ({FLAGGED})" if id_ in flagged else name for id_, name in names.items()}


def cell_label(cell: CellResult) -> str:
    """The variant's label, with the flag where it has one: for places that name it alone."""
    is_flagged = cell.quality is not None and cell.quality.is_flagged
    return f"{cell.variant.label} ({FLAGGED})" if is_flagged else cell.variant.label


def quality_text(found: QualityResult) -> str:
    """A variant's quality in one line."""
    if found.flags:
        return f"quality: {'; '.join(found.flags)}"
    against = found.comparison
    if against is None:
        return f"quality: not compared: {found.reasons.get('comparison') or 'the reference is not scored yet'}"
    if against.reference_is == "itself":
        return f"quality: perplexity {number(found.perplexity)}, the reference" if found.perplexity else NO_QUALITY
    if against.agreement is None or against.perplexity_ratio is None:
        return f"quality: {NO_QUALITY}: {against.reasons.get('agreement', 'it was not measured')}"
    return (
        f"quality: perplexity {number(against.perplexity_ratio, 4)} × that of {against.reference}, the same likeliest "
        f"token at {against.agreement:.1%} of {against.tokens:,} positions"
    )


NO_QUALITY = "no log-probabilities"


def common_label(variants: Iterable[Variant]) -> str:
    """What all variants have in common: "llama_cpp 0.3.1 · tiny · cpu"."""
    facts = [_facts(variant) for variant in variants]
    if not facts:
        return ""
    names = ("engine", "model", "hardware") if _one_engine(facts) else ("model", "hardware")
    return " · ".join(facts[0][name] for name in names if len({fact[name] for fact in facts}) == 1)


def _one_engine(facts: Sequence[Mapping[str, str]]) -> bool:
    return len({fact["engine"] for fact in facts}) == 1


def _facts(variant: Variant) -> dict[str, str]:
    """Field by field as people say it; the engine with its version; plain fields by their name."""
    named = {
        "engine": f"{variant.engine_name} {variant.engine_version}",
        "model": variant.model.name,
        "quantization": variant.quantization.value,
        "hardware": variant.hardware,
    }
    rest = variant.model_dump(mode="json", exclude={*named, "engine_version", "stand_in"})
    return named | {
        name: f"{name} {value}" for name, value in rest.items() if value not in (None, False, [], "default")
    }


def _fields(facts: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(field for fact in facts for field in fact))


def is_stand_in(cell: CellResult) -> bool:
    """Whether a program answered in the engine's place."""
    return cell.variant.stand_in


STAND_IN_NOTE = (
    "STAND-INS ran in the place of engines: programs that check arguments and answer in an engine's dialect without "
    "computing anything. None of these figures is a measurement of an engine."
)


def is_synthetic(cell: CellResult) -> bool:
    """Whether its weights are random: then its speed says nothing of a real model."""
    return isinstance(cell.variant.model.source, SyntheticSource)


SYNTHETIC_NOTE = (
    "The model is synthetic: a small network of random weights. These figures test the pipeline on this machine; "
    "they say nothing of how fast an engine serves a real model."
)
