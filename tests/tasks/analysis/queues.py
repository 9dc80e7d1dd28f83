"""Servers whose capacity is known: their answers as records, so that every figure comes by the product's own path."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.schema.load import LoadPlan, LoadPoint, OpenLoop, StopRule
from experiments.schema.result import PointResult
from experiments.schema.slo import SLO
from experiments.schema.workload import Workload
from tasks.analysis.sweep import next_point
from tasks.analysis.trial import summarize_trial
from tasks.loadgen.record import SCHEMA, Outcome
from tasks.loadgen.schedule import arrivals

Floats = NDArray[np.float64]
NS = 1_000_000_000
ORIGIN_NS = 7 * NS
WORKLOAD = Workload(name="w", prompt_tokens=8, output_tokens=2)
CLIENT = {"stamp": "kernel", "cpu_share": 0.1, "loop_delay_p99_ms": 0.1}


class Server(Protocol):
    """Answers arrivals; `users` at a time where the loop is closed."""

    def open_loop(self, due: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
        """(first, last) token's times of requests that arrive at `due`, all in s."""

    def closed_loop(self, users: int, requests: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """(due, first, last)."""


@dataclass(frozen=True)
class Queue:
    """M/D/c or M/M/c: `servers` servers, one queue, first come first served. The first token comes with the last."""

    servers: int
    service_s: float
    kind: Literal["deterministic", "exponential"] = "deterministic"

    @property
    def rate_rps(self) -> float:
        return self.servers / self.service_s

    def _services(self, count: int, random: np.random.Generator) -> Floats:
        if self.kind == "deterministic":
            return np.full(count, self.service_s)
        return random.exponential(self.service_s, count)

    def open_loop(self, due: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
        services = self._services(len(due), random)
        if self.kind == "deterministic" or self.servers == 1:
            ends = np.empty(len(due))
            for first in range(self.servers):  # equal services end in order: request n follows n − c
                ends[first :: self.servers] = _one_server(due[first :: self.servers], services[first :: self.servers])
            return ends, ends
        free = [0.0] * self.servers
        ended = [_served(free, float(at), float(takes)) for at, takes in zip(due, services, strict=True)]
        return np.array(ended), np.array(ended)

    def closed_loop(self, users: int, requests: int, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        free, asking = [0.0] * self.servers, [0.0] * users
        due, ends = [], []
        for takes in self._services(requests, random):
            due.append(heapq.heappop(asking))
            ends.append(_served(free, due[-1], float(takes)))
            heapq.heappush(asking, ends[-1])
        return np.array(due), np.array(ends), np.array(ends)


def _one_server(due: Floats, services: Floats) -> Floats:
    """Lindley: e_n = s_n + max(a_n, e_{n−1}), as a running maximum."""
    total = np.cumsum(services)
    ends: Floats = total + np.maximum.accumulate(due - np.concatenate(([0.0], total[:-1])))
    return ends


def _served(free: list[float], at: float, takes: float) -> float:
    end = max(at, heapq.heappop(free)) + takes
    heapq.heappush(free, end)
    return end


def table_of(due: Floats, first: Floats, last: Floats, in_window: NDArray[np.bool_]) -> pa.Table:
    """Two tokens a request: the first, and 1 µs after the first at the earliest the last."""
    n = len(due)
    due_ns, first_ns = (ORIGIN_NS + np.rint(at * NS).astype(np.int64) for at in (due, first))
    last_ns = np.maximum(ORIGIN_NS + np.rint(last * NS).astype(np.int64), first_ns + 1000)
    known: dict[str, Any] = {
        "index": np.arange(n), "due_at_ns": due_ns, "sent_at_ns": due_ns, "first_byte_at_ns": first_ns,
        "last_token_at_ns": last_ns, "end_at_ns": last_ns, "in_window": in_window,
        "chunk_at_ns": _pairs(np.stack((first_ns, last_ns), axis=1).reshape(-1)),
        "chunk_tokens": _pairs(np.ones(2 * n, np.int32)), "chunk_is_answer": _pairs(np.ones(2 * n, np.bool_)),
    }  # fmt: skip
    same: dict[str, Any] = {
        "prompt_tokens_asked": 8, "prompt_tokens": 8, "output_tokens_asked": 2, "output_tokens": 2,
        "output_tokens_source": "usage", "cached_tokens": 0, "finish_reason": "length", "status": 200,
        "outcome": Outcome.COMPLETED.value, "process": 0, "connection_reused": True, "stamp": "kernel",
    }  # fmt: skip
    columns = [
        pa.array(known[field.name], field.type)
        if field.name in known
        else pa.repeat(pa.scalar(same.get(field.name), field.type), n)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _pairs(flat: NDArray[Any]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, 2, dtype=np.int32)), pa.array(flat))


def times(server: Server, point: LoadPoint, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """(due, first, last) of the requests of a point, on a server that was idle before."""
    load, stop = point.load, point.stop
    if isinstance(load, OpenLoop):
        due = arrivals(load.arrivals, load.rate_rps or 0.0, stop, int(random.integers(2**31))) / NS
        return (due, *server.open_loop(due, random))
    return server.closed_loop(load.concurrency, stop.requests or 0, random)


def measured(server: Server, point: LoadPoint, slos: Sequence[SLO], random: np.random.Generator) -> PointResult:
    """The point as the product would have it, had its client been perfect."""
    return measured_with_records(server, point, slos, random)[0]


def measured_with_records(
    server: Server, point: LoadPoint, slos: Sequence[SLO], random: np.random.Generator
) -> tuple[PointResult, pa.Table, tuple[int, int]]:
    """Beside it the records, and the window."""
    due, first, last = times(server, point, random)
    window = _window(point.stop, due, last)
    in_window = due >= window[0]
    at_ns = (ORIGIN_NS + round(window[0] * NS), ORIGIN_NS + round(window[1] * NS))
    table = table_of(due, first, last, in_window)
    summary = summarize_trial(
        table, window=at_ns, load=point.load, workload=WORKLOAD, slos=slos, client=CLIENT, method_version="t",
        overloaded=point.role == "overloaded",
    )  # fmt: skip
    result = PointResult(point=point, summary=summary, directory=f"{point.step}", started_at="2026-01-01T00:00:00Z")
    return result, table, at_ns


def _window(stop: StopRule, due: Floats, last: Floats) -> tuple[float, float]:
    if stop.seconds is not None:
        return stop.ramp_s, stop.seconds
    return float(due.min()), float(last.max()) + 1e-5


def swept(server: Server, plan: LoadPlan, slos: Sequence[SLO], seed: int) -> list[PointResult]:
    """Every point that the plan asks for, each decided by those before it."""
    random = np.random.default_rng([seed, 77])
    done: list[PointResult] = []
    while (point := next_point(plan, done, slos=slos)) is not None:
        done.append(measured(server, point, slos, random))
    return done
