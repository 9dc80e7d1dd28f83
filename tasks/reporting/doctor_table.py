"""The end of `dyno doctor` for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

TITLES = {
    "load": "load on a null server",
    "events_per_s": "events/s",
    "delivered": "delivered",
    "lateness_p99_ms": "lateness p99 ms",
    "stamp_error_p50_us": "stamp error p50 µs",
    "stamp_error_p99_us": "p99 µs",
    "cpu_us_per_event": "CPU µs/event",
}
NEEDS = {"streams": "streams", "events_per_s": "events/s", "rate_rps": "requests/s"}


def doctor_table(body: Mapping[str, Any]) -> RenderableType:
    """The stages, what held, and the needs beside it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, title in TITLES.items():
        table.add_column(title, justify="left" if name == "load" else "right")
    table.add_column("")
    for stage in body["stages"]:
        cells = [_shown(name, stage) for name in TITLES]
        table.add_row(*cells, Text("holds", "green") if stage["holds"] else Text("too much", "yellow"))
    return Group(table, Text(), *_offer(body), *_needs(body))


def _shown(name: str, stage: Mapping[str, Any]) -> str:
    if name == "load":
        return f"{stage['streams']} streams" if stage["streams"] else f"{stage['rate_rps']:.0f} rps"
    value = stage[name]
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if name == "delivered" else f"{value:,.{0 if name == 'events_per_s' else 2}f}"


def _offer(body: Mapping[str, Any]) -> list[Text]:
    stamps = "kernel" if body["kernel_stamps"] else "user-space"
    limits = f"{body['streams']} streams, {body['events_per_s']:,.0f} events/s, {body['rate_rps']:,.0f} requests/s"
    return [
        Text(f"{body['cores']} cores, shared with the null server; {stamps} stamps; {body['scheduling']} priority"),
        Text(f"offers {limits}"),
        *_memory(body.get("memory_bandwidth", ())),
    ]


def _memory(measured: Sequence[Mapping[str, float]]) -> list[Text]:
    """The smallest set lies in a cache, the largest in memory."""
    each = [f"{one['gb_per_s']:.1f} GB/s of {one['working_set_bytes'] / 2**20:.0f} MiB" for one in measured]
    return [Text(f"reads {', '.join(each)}")] if each else []


def _needs(body: Mapping[str, Any]) -> list[Text]:
    words = {True: Text("met", "green"), False: Text("not met", "red"), None: Text("not known until it is measured")}
    lines = []
    for name, unit in NEEDS.items():
        if name in body["needs"]:
            need = body["needs"][name]
            amount = "" if need is None else f"{need:,.0f} "
            lines.append(Text.assemble(f"needs {amount}{unit}: ", words[body["met"][name]]))
    return lines
