"""Serves a GGUF file with xllamacpp: llama.cpp's own HTTP server in this process.

Runs under the Python of an environment that has xllamacpp; the wheel brings no command of its own.
"""

import argparse
import os
import signal
import sys
import threading
from importlib.metadata import version
from types import FrameType


def parse(argv: list[str]) -> argparse.Namespace:
    """The launcher's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=8, help="requests decoded at once; more wait")
    parser.add_argument("--context", type=int, default=2048, help="tokens of context of each slot")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores but one, at least one")
    parser.add_argument("--kv-type", choices=("f16", "bf16", "q8_0", "q4_0"), default="f16")
    parser.add_argument("--prefix-cache", action="store_true", help="reuse the KV cache of earlier prompts")
    parser.add_argument("--seed", type=int)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Serves until SIGTERM or SIGINT."""
    flags = parse(argv)
    import xllamacpp

    print(f"xllamacpp {version('xllamacpp')}", flush=True)
    server = xllamacpp.Server(_params(xllamacpp, flags))
    print(f"listening on {server.listening_address}", flush=True)
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while not ended.wait(0.2):
        pass
    # The server's destructor waits for open streams up to a ping interval (30 s).
    os._exit(0)


def _params(xllamacpp: object, flags: argparse.Namespace) -> object:
    params = xllamacpp.CommonParams()  # type: ignore[attr-defined]
    threads = flags.threads or max(1, (os.cpu_count() or 2) - 1)
    params.model.path = flags.model
    if hasattr(params, "hostnames"):
        params.hostnames = [flags.host]
    else:  # until 2026.9
        params.hostname = flags.host
    params.port = flags.port
    params.n_parallel = flags.slots
    params.n_ctx = flags.context * flags.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_prompt = flags.prefix_cache
    params.endpoint_metrics = True
    params.ui = False
    if flags.kv_type != "f16":
        params.cache_type_k = params.cache_type_v = _kv_type(xllamacpp, flags.kv_type)
    if flags.seed is not None:
        params.sampling.seed = flags.seed
    return params


def _kv_type(xllamacpp: object, name: str) -> object:
    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
