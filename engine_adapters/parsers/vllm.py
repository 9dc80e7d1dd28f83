"""The parser of `vllm serve`, and what its configuration says of a parsed command."""

import argparse
from importlib import import_module
from typing import Any, get_args


def parser() -> argparse.ArgumentParser:
    """vLLM infers a device while it builds its defaults: without a GPU it is told the CPU, as `vllm bench` does."""
    platforms: Any = import_module("vllm.platforms")
    platforms.current_platform = import_module("vllm.platforms.cpu").CpuPlatform()
    root = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm")
    built = import_module("vllm.entrypoints.cli.serve").ServeSubcommand().subparser_init(root.add_subparsers())
    assert isinstance(built, argparse.ArgumentParser)
    return built


def check(flags: argparse.Namespace) -> None:
    """Raises where a value is none that the configuration knows: the parser takes any word for these."""
    quantizations = import_module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS
    known = {
        "kv_cache_dtype": get_args(import_module("vllm.config.cache").CacheDType),
        "quantization": [None, *quantizations],
        "load_format": ["auto", "dummy"],
    }
    for name, values in known.items():
        if getattr(flags, name) not in values:
            raise ValueError(f"{name}: {getattr(flags, name)!r} is none of {', '.join(map(str, values))}")
    import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(flags)
