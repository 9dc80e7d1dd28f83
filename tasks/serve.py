"""Stage: a launch. A context manager, not a task: only `with` guarantees the teardown."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from engine_adapters import ADAPTERS
from experiments.schema.variant import Variant
from tasks.serving.environment import Environment
from tasks.serving.server import Server, running_server

log = logging.getLogger("dyno.launch")


@contextlib.contextmanager
def serve(variant: Variant, *, environment: Environment, model: Path, log_file: Path, leases: Path) -> Iterator[Server]:
    """The variant's server inside the block; nothing of it after the block."""
    adapter = ADAPTERS[variant.engine]
    with running_server(
        adapter.launch_spec(variant),
        adapter.request_dialect(variant),
        python=environment.python,
        model=model,
        log=log_file,
        leases=leases,
        what=f"the server of {variant.label}",
        say=log.info,
    ) as server:
        log.info("ready after %.1f s at %s", server.timings_s["first_token_s"], server.url)
        yield server
