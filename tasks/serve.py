"""Stage: a launch. A context manager, not a task: only `with` guarantees the teardown."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec
from experiments.errors import LaunchError
from experiments.schema.failure import FailureClass
from experiments.schema.variant import Variant
from tasks.serving.environment import Environment
from tasks.serving.server import Server, attached_server, running_server

log = logging.getLogger("dyno.launch")


def is_there_already(variant: Variant) -> bool:
    """Whether the variant's server is attached to: it needs no model, no environment and no checkpoint of ours."""
    return bool(ADAPTERS[variant.engine].launch_spec(variant).url)


@dataclass(frozen=True, slots=True)
class Loadable:
    """What a server is started from: its environment, and what it loads. Without it, a server is attached to."""

    environment: Environment
    path: Path


@contextlib.contextmanager
def serve(
    variant: Variant,
    *,
    loadable: Loadable | None,
    log_file: Path,
    leases: Path,
    adapted: Callable[[LaunchSpec], LaunchSpec] = lambda spec: spec,
) -> Iterator[Server]:
    """The variant's server inside the block; nothing of it after the block, unless it was there before. `adapted` makes
    of the launch that is measured another one, such as one with a profiler."""
    adapter = ADAPTERS[variant.engine]
    spec, dialect = adapted(adapter.launch_spec(variant)), adapter.request_dialect(variant)
    if loadable is None:
        server = attached_server(spec, dialect, log=log_file, say=log.info)
        _check_version(server, variant)
        log.info("attached to %s, which serves %s", server.url, server.model)
        yield server
        return
    with running_server(
        spec,
        dialect,
        python=loadable.environment.python,
        model=loadable.path,
        log=log_file,
        leases=leases,
        what=f"the server of {variant.label}",
        say=log.info,
    ) as server:
        _check_version(server, variant)
        log.info("ready after %.1f s at %s", server.timings_s["first_token_s"], server.url)
        yield server


def _check_version(server: Server, variant: Variant) -> None:
    """A build's local part (`+cpu`) does not make it another release. Raises LaunchError."""
    told, asked = server.version, variant.engine_version
    if told and told.partition("+")[0] != asked.partition("+")[0]:
        raise LaunchError(
            f"the server says that it is version {told}, and {asked} was asked for",
            log_excerpt=server.log_tail(),
            failure_class=FailureClass.WRONG_VERSION,
        )


def launched(variant: Variant, server: Server) -> dict[str, object]:
    """For the record: what was started, what it says of itself, and what the person says of it who runs it."""
    declared = dict(ADAPTERS[variant.engine].launch_spec(variant).declared)
    facts: dict[str, object] = {
        "argv": list(server.argv),
        "launch_s": dict(server.timings_s),
        "served_model": server.model,
    }
    said = {"engine_says_version": server.version} if server.version else {}
    return facts | said | ({"declared": declared, "endpoint": server.url} if declared else {})
