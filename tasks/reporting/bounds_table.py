"""Tables of bounds and of cost for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from tasks.reporting.wording import number

READING_MS = 180
"""Between tokens, for a person who reads 250 words a minute."""


def bounds_table(body: Mapping[str, Any]) -> Group:
    """The figures of `dyno bounds`, each with its unit, and the decode step by batch."""
    return Group(*_facts(body), "", _steps(body), f"a person reads about a token in {READING_MS} ms")


def _facts(body: Mapping[str, Any]) -> list[str]:
    billions = [f"{number(body[name] / 1e9, 4)} B {word}" for name, word in PARAMETERS.items()]
    where = f"{body['gpus']} × {body['hardware']}" if body["gpus"] > 1 else body["hardware"]
    lines = [
        f"{body['model']} in {body['weights']} on {where}: {number(body['bandwidth_gb_per_s'])} GB/s"
        + (f", {number(body['tflops'])} TFLOPS dense" if body["tflops"] else ""),
        f"parameters       {', '.join(billions)}",
        f"weights          {number(body['weight_bytes'] / 1e9)} GB",
        f"KV               {number(body['kv_bytes_per_token'] / 1024)} KiB a token",
        f"latency floor    {number(body['latency_floor_ms'])} ms a token",
    ]
    context = f"{body['context_tokens']:.0f} tokens"
    return [
        *lines,
        _or_why(body, "critical_batch", "critical batch", lambda value: f"{value:.0f} (B*)"),
        _or_why(body, "largest_batch", "largest batch", lambda value: f"{value} sequences of {context}"),
        _or_why(body, "prefill_ms", "prefill", lambda v: f"{number(v)} ms for {body['prompt_tokens']:.0f} tokens"),
    ]


PARAMETERS = {"total_params": "in all", "active_params": "active", "matmul_active_params": "multiplied"}


def _or_why(body: Mapping[str, Any], name: str, title: str, text: Any) -> str:
    value = body[name]
    return f"{title:<17}{text(value) if value is not None else 'none: ' + body['reasons'][name]}"


def _steps(body: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("batch", "decode step, ms", "output tokens/s", "fits"):
        table.add_column(title, justify="right")
    for step in body["decode"]:
        fits = "yes" if step["fits"] else "no"
        table.add_row(str(step["batch"]), number(step["step_ms"]), number(step["tokens_per_s"]), fits)
    return table


def cost_table(body: Mapping[str, Any]) -> Group:
    """What a million tokens cost at saturation and at each certified capacity, and what a demand takes."""
    head = f"{body['variant']} on {body['workload']}, {body['hardware']}"
    price = body["usd_per_hour"]
    paid = f", {money(price)} an hour ({body['price_source']})" if price else ""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("per million tokens", "input", "output", "total"):
        table.add_column(title, justify="left" if title.startswith("per") else "right")
    for name, at in [("at saturation", body["saturation"]), *body["capacities"].items()]:
        if at is not None:
            table.add_row(name, *(_cost_text(at, kind, body["unit"]) for kind in ("input", "output", "total")))
    why = [f"no {name}: {reason}" for name, reason in body["reasons"].items()]
    return Group(head + paid, *([table] if table.row_count else []), *why, *_demand_lines(body.get("demand")))


def _cost_text(at: Mapping[str, Any], kind: str, unit: str) -> str:
    if at[kind] is None:
        return "–"
    dollars = at[f"usd_{kind}"]
    return f"{number(at[kind])} {unit}" + (f", {money(dollars)}" if dollars else "")


def _demand_lines(demand: Mapping[str, Any] | None) -> list[str]:
    if demand is None:
        return []
    lines = ["", f"to serve {number(demand['demand_rps'])} requests/s with {demand['headroom']:.0%} headroom:"]
    for name, need in demand["at"].items():
        if "reason" in need:
            lines.append(f"  {name}: not known: {need['reason']}")
            continue
        in_flight = f", {number(need['in_flight'])} requests in flight" if need["in_flight"] is not None else ""
        paid = f", {money(need['usd_per_day'])} a day" if need["usd_per_day"] else ""
        lines.append(f"  {name}: {need['replicas']} replicas, {need['utilization']:.0%} of capacity{in_flight}{paid}")
    return lines


def money(dollars: tuple[float, float] | list[float]) -> str:
    """One price, or the range of prices that was found."""
    low, high = dollars
    return f"${number(low)}" if low == high else f"${number(low)}–${number(high)}"
