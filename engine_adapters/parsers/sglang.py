"""The parser of `sglang serve` and of its module."""

import argparse
from importlib import import_module


def parser() -> argparse.ArgumentParser:
    """As the server itself builds it."""
    built = argparse.ArgumentParser(prog="launch_server.py")
    import_module("sglang.srt.server_args").ServerArgs.add_cli_args(built)
    return built


def check(flags: argparse.Namespace) -> None:
    """Raises where a name is none that the server has: the parser takes any word for it."""
    if flags.speculative_algorithm is not None:
        module = import_module("sglang.srt.speculative.spec_info")
        module.SpeculativeAlgorithm.from_string(flags.speculative_algorithm)
