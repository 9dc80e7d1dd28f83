"""The parser of `lmdeploy serve api_server`, and what each engine's configuration says of a parsed command."""

import argparse
from importlib import import_module


def parser() -> argparse.ArgumentParser:
    """As the command builds it."""
    command = import_module("lmdeploy.cli.serve").SubCliServe
    command.add_parsers()
    built = command.subparsers.choices["api_server"]
    assert isinstance(built, argparse.ArgumentParser)
    return built


def check(flags: argparse.Namespace) -> None:
    """Raises where the backend's own configuration does: the two do not take the same cache types."""
    messages = import_module("lmdeploy.messages")
    kind = messages.PytorchEngineConfig if flags.backend == "pytorch" else messages.TurbomindEngineConfig
    fields = {"dtype", "tp", "ep", "session_len", "cache_max_entry_count", "quant_policy", "max_prefill_token_num"}
    kind(**{name: getattr(flags, name) for name in fields})
