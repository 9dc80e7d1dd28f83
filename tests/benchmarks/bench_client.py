"""The instrument beside aiohttp and httpx, against a server whose send times are known: `make bench-client`.

One run, one machine, the same bodies: closed loop, each stream 64 tokens 20 ms apart after 50 ms. CPU is user and
system time of the client process from the first request to the end of parsing, per token event. TTFT error is the
client's TTFT less the server's own (from the request's arrival to the write of the first token); stamp error is the
client's time of an event less that of its write.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np

from experiments.schema.load import ClosedLoop, StopRule
from tasks.loadgen.payload import body_source
from tasks.loadgen.pool import Pool
from tests.reference_server import get, log_by_body, reference_server
from tests.tasks.loadgen.trials import PREFLIGHT, Trial

STREAMS = (1, 64, 256, 512)
CLIENTS = ("instrument", "aiohttp", "httpx")
TTFT_MS = 50.0
ITL_MS = 20.0
TOKENS = 64
PROMPT_TOKENS = 100


@dataclass
class Heard:
    """One request as a client tells it; times in CLOCK_MONOTONIC ns."""

    body_crc: int
    sent_ns: int
    events_ns: list[int]


@dataclass
class Result:
    """What one client made of one number of streams."""

    client: str
    streams: int
    completed: int
    events_per_s: float
    cpu_us: float
    ttft_error_ms: tuple[float, float]
    stamp_error_us: tuple[float, float]


def requests_for(streams: int) -> int:
    return max(4, 2 * streams)


def trial_of(url: str, streams: int) -> Trial:
    return Trial(
        url,
        load=ClosedLoop(concurrency=streams),
        stop=StopRule(requests=requests_for(streams)),
        prompt_tokens=PROMPT_TOKENS,
        output_tokens=TOKENS,
        timeout_s=120.0,
    )


def bodies_of(trial: Trial) -> list[bytes]:
    source = body_source(trial.plan(), PREFLIGHT)
    return [source.body(index, PROMPT_TOKENS, TOKENS) for index in range(trial.stop.requests or 0)]


def by_instrument(url: str, streams: int) -> tuple[list[Heard], float]:
    trial = trial_of(url, streams)
    with tempfile.TemporaryDirectory() as folder, Pool() as pool:
        records, rows = trial.run(Path(folder), pool)
    crcs = [zlib.crc32(body) for body in bodies_of(trial)]
    heard = [Heard(crcs[row["index"]], row["sent_at_ns"], row["chunk_at_ns"]) for row in rows]
    return heard, (records.client.cpu_us_per_event or 0.0) * records.client.events / 1e6


def by_peer(client: str, url: str, streams: int) -> tuple[list[Heard], float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_client", "--as-peer", client, "--url", url]
    done = subprocess.run([*command, "--streams", str(streams)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return [Heard(*one) for one in told["heard"]], told["cpu_s"]


def run_peer(client: str, url: str, streams: int) -> None:
    """In a process of its own, on asyncio's own loop, as these clients are commonly used."""
    bodies = bodies_of(trial_of(url, streams))
    cpu_s = time.process_time()
    heard = asyncio.run(load(client, f"{url}/v1/completions", streams, bodies))
    print(json.dumps({"heard": heard, "cpu_s": time.process_time() - cpu_s}))


Stream = Callable[[bytes], AsyncIterator[bytes]]


async def load(client: str, url: str, streams: int, bodies: list[bytes]) -> list[tuple[int, int, list[int]]]:
    heard: list[tuple[int, int, list[int]]] = []
    left = list(reversed(bodies))

    async def user(stream: Stream) -> None:
        while left:
            heard.append(await one_request(stream, left.pop()))

    async with AsyncExitStack() as stack:
        if client == "aiohttp":
            connector = aiohttp.TCPConnector(limit=0)
            stream = aiohttp_stream(await stack.enter_async_context(aiohttp.ClientSession(connector=connector)), url)
        else:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            stream = httpx_stream(await stack.enter_async_context(httpx.AsyncClient(limits=limits, timeout=120)), url)
        await asyncio.gather(*(user(stream) for _ in range(streams)))
    return heard


def aiohttp_stream(session: aiohttp.ClientSession, url: str) -> Stream:
    async def stream(body: bytes) -> AsyncIterator[bytes]:
        async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
            async for line in response.content:
                yield line

    return stream


def httpx_stream(session: httpx.AsyncClient, url: str) -> Stream:
    async def stream(body: bytes) -> AsyncIterator[bytes]:
        async with session.stream("POST", url, content=body, headers={"content-type": "application/json"}) as response:
            async for line in response.aiter_lines():
                yield line.encode()

    return stream


async def one_request(stream: Stream, body: bytes) -> tuple[int, int, list[int]]:
    sent_ns, events_ns = time.monotonic_ns(), list[int]()
    async for line in stream(body):
        if line.startswith(b"data: {"):
            now_ns = time.monotonic_ns()
            choices = json.loads(line[6:])["choices"]
            if choices and choices[0]["text"]:
                events_ns.append(now_ns)
    return zlib.crc32(body), sent_ns, events_ns


def measure(client: str, url: str, streams: int) -> Result:
    get(f"{url}/reset")
    heard, cpu_s = by_instrument(url, streams) if client == "instrument" else by_peer(client, url, streams)
    log = log_by_body(url)
    whole = [one for one in heard if len(one.events_ns) == TOKENS]
    events = len(whole) * TOKENS
    span_s = (max(one.events_ns[-1] for one in whole) - min(one.sent_ns for one in whole)) / 1e9
    return Result(
        client=client,
        streams=streams,
        completed=len(whole),
        events_per_s=events / span_s,
        cpu_us=cpu_s * 1e6 / events,
        ttft_error_ms=quantiles([ttft_error_ns(one, log[one.body_crc]) / 1e6 for one in whole]),
        stamp_error_us=quantiles(
            np.concatenate([np.subtract(one.events_ns, log[one.body_crc]["sent_ns"]) / 1e3 for one in whole])
        ),
    )


def ttft_error_ns(heard: Heard, truth: dict[str, Any]) -> int:
    true_ttft_ns: int = truth["sent_ns"][0] - truth["arrived_ns"]
    return heard.events_ns[0] - heard.sent_ns - true_ttft_ns


def quantiles(samples: Any) -> tuple[float, float]:
    p50, p99 = np.percentile(samples, [50, 99])
    return float(p50), float(p99)


def table(results: list[Result]) -> str:
    """Ratios are to the instrument at the same number of streams."""
    figures = "events/s | CPU µs/event | × | TTFT error ms p50 / p99 | stamp error µs p50 / p99 | × (p50)"
    lines = [f"| streams | client | {figures} |", "|--:|---|--:|--:|--:|--:|--:|--:|"]
    ours = {result.streams: result for result in results if result.client == "instrument"}
    for result in results:
        own = ours[result.streams]
        lines.append(
            f"| {result.streams} | {result.client} | {result.events_per_s:,.0f} | {result.cpu_us:.1f} "
            f"| {result.cpu_us / own.cpu_us:.1f} | {result.ttft_error_ms[0]:.2f} / {result.ttft_error_ms[1]:.2f} "
            f"| {result.stamp_error_us[0]:,.0f} / {result.stamp_error_us[1]:,.0f} "
            f"| {result.stamp_error_us[0] / own.stamp_error_us[0]:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as-peer", choices=CLIENTS[1:])
    parser.add_argument("--url", default="")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    args = parser.parse_args()
    if args.as_peer:
        run_peer(args.as_peer, args.url, args.streams[0])
        return
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {TOKENS} tokens a request"
    )
    with reference_server("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS)) as url:
        print(table([measure(client, url, streams) for streams in args.streams for client in CLIENTS]))


if __name__ == "__main__":
    main()
