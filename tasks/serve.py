"""Stage: a launch. A context manager, not a task: only `with` guarantees the teardown."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec, RequestDialect, without_flags
from experiments.errors import WrongVersion
from experiments.schema.variant import Variant
from tasks.quantization.published import read_published
from tasks.serving.container_server import running_container
from tasks.serving.environment import Environment
from tasks.serving.gpu_lease import leased_gpus
from tasks.serving.gpus import GpuFacts
from tasks.serving.images import EngineImage
from tasks.serving.provenance import effective_backend
from tasks.serving.server import Server, attached_server, running_server

log = logging.getLogger("dyno.launch")


def is_there_already(variant: Variant) -> bool:
    """Whether the variant's server is attached to: it needs no model, no environment and no checkpoint of ours."""
    return bool(ADAPTERS[variant.engine].launch_spec(variant).url)


def runs_in_container(variant: Variant) -> bool:
    """Whether it needs an image, and no environment of ours."""
    return variant.runtime == "container"


@dataclass(frozen=True, slots=True)
class Loadable:
    """What a server is started from: its environment or its image, and what it loads. Without it, a server is attached
    to."""

    runs_in: Environment | EngineImage
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
        server = attached_server(spec, dialect, log=log_file, say=log.info, api_key_env=variant.api_key_env or "")
        _check_version(server, variant)
        log.info("attached to %s, which serves %s", server.url, server.model)
        yield server
        return
    with (
        leased_gpus(spec.gpus, leases, log.warning) as gpus,
        _started(spec, dialect, variant, loadable, log_file, leases, gpus) as server,
    ):
        _check_version(server, variant)
        log.info("ready after %.1f s at %s", server.timings_s["first_token_s"], server.url)
        yield replace(server, gpus=tuple(gpu.uuid for gpu in gpus))


def _started(
    spec: LaunchSpec,
    dialect: RequestDialect,
    variant: Variant,
    loadable: Loadable,
    log_file: Path,
    leases: Path,
    gpus: tuple[GpuFacts, ...],
) -> contextlib.AbstractContextManager[Server]:
    what, numbers = f"the server of {variant.label}", tuple(str(gpu.index) for gpu in gpus)
    spec = _for_these_weights(spec, variant, loadable.path)
    runs_in, model = loadable.runs_in, loadable.path
    if isinstance(runs_in, EngineImage):
        return running_container(
            spec, dialect, image=runs_in, model=model, log=log_file, leases=leases, what=what, say=log.info,
            gpus=numbers, labels=(("dyno.variant", variant.id),),
        )  # fmt: skip
    return running_server(
        spec, dialect, python=runs_in.python, model=model, log=log_file, leases=leases, what=what, say=log.info,
        gpus=numbers,
    )  # fmt: skip


def _for_these_weights(spec: LaunchSpec, variant: Variant, loads: Path) -> LaunchSpec:
    """Told to quantize weights that are quantized already, an engine refuses to start, or does it twice; to name their
    own method is no harm, and some need it."""
    published = read_published(loads) if loads.is_dir() else None
    if published is None:
        return spec
    flags = ADAPTERS[variant.engine].quantizing_flags
    return replace(spec, argv=without_flags(spec.argv, flags, but=published.method))


def _check_version(server: Server, variant: Variant) -> None:
    """A build's local part (`+cpu`) does not make it another release. Raises WrongVersion."""
    told, asked = server.version, variant.engine_version
    if told and told.partition("+")[0] != asked.partition("+")[0]:
        raise WrongVersion(
            f"the server says that it is version {told}, and {asked} was asked for", log_excerpt=server.log_tail()
        )


def launched(variant: Variant, server: Server) -> dict[str, object]:
    """For the record: what was started, what it says of itself, and what the person says of it who runs it."""
    adapter = ADAPTERS[variant.engine]
    declared = dict(adapter.launch_spec(variant).declared)
    facts: dict[str, object] = {
        "argv": list(server.argv),
        "launch_s": dict(server.timings_s),
        "served_model": server.model,
    }
    if server.process is not None:
        facts["backend"] = effective_backend(adapter.backend_pattern, server.process.log)
    if server.gpus:
        facts["launch_gpus"] = list(server.gpus)
    said = {"engine_says_version": server.version} if server.version else {}
    return facts | said | ({"declared": declared, "endpoint": server.url} if declared else {})
