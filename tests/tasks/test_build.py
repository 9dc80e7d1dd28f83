"""The build stage: what an engine loads as it is, and what is compiled for it in its environment, with stand-ins."""

from pathlib import Path

import pytest

from engine_adapters.base import BuildSpec
from experiments.errors import BuildError
from experiments.schema.variant import Variant
from tasks.artifacts.store import ArtifactStore
from tasks.build import Built, build, toolchain_of
from tasks.campaigns.home import Home
from tasks.serving.environment import Environment
from tests.tasks.building.toolchains import artifacts, programs, variant_of


def run(variant: Variant, root: Path) -> Built:
    home = Home(root)
    checkpoint, model = artifacts(ArtifactStore(home.artifacts))
    environment = Environment(programs(root) / "python", (("tensorrt-llm", "1.2.1", "aa"),), 0.0)
    return build.fn(
        variant,
        checkpoint=checkpoint,
        model=model,
        environment=environment,
        home=home,
        log_file=root / "builds" / "v-1.log",
    )


def test_an_engine_without_a_build_loads_its_checkpoint(variant: Variant, tmp_path: Path) -> None:
    built = run(variant, tmp_path)
    assert built.path.name == "content"
    assert not built.facts
    assert not (tmp_path / "builds").exists()


def test_an_engine_is_compiled_in_its_environment_and_what_it_took_is_told(tmp_path: Path) -> None:
    built = run(variant_of("tensorrt_llm"), tmp_path)
    assert (built.path / "rank1.engine").exists()
    assert built.facts["was_made"]
    assert built.facts["tool_seconds"] == 98.0
    assert built.facts["made_from"]["gpu"] == "none"
    assert "STAND-IN" in (tmp_path / "builds" / "v-1.log").read_text()
    assert not run(variant_of("tensorrt_llm"), tmp_path).facts["was_made"]


def test_a_build_in_an_image_is_refused_by_name(tmp_path: Path) -> None:
    spec = BuildSpec(commands=(), kind="toy engine", image="registry/toy:1")
    with pytest.raises(BuildError, match="toy engine would be compiled in registry/toy:1"):
        toolchain_of(spec, Environment(tmp_path / "python", (), 0.0), Home(tmp_path))
