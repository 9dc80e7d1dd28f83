"""An engine compiled in a real container, by podman: it reads the checkpoint, writes its output, touches no more."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import BuildSpec
from experiments.errors import BuildError
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import EnvironmentVariable, Quantization, Variant
from tasks.artifacts.store import ArtifactStore
from tasks.build import Built, build
from tasks.campaigns.home import Home
from tasks.serving.images import EngineImage
from tests.tasks.serving.engine_image import podman
from tests.tasks.serving.test_container_stages import SPEC, adapter_of

COMPILER = """
import json, os, pathlib, socket, sys
checkpoint, engine = map(pathlib.Path, sys.argv[1:3])
told = {"weights": (checkpoint / "model.safetensors").read_text(), "flag": os.environ.get("FLAG"), "failed": []}
def tried(name, act):
    try:
        act()
    except OSError:
        told["failed"].append(name)
tried("write into the checkpoint", lambda: (checkpoint / "more").write_text("x"))
tried("reach a network", lambda: socket.create_connection(("192.0.2.1", 80), timeout=2))
engine.write_text(json.dumps(told))
print("Total time of building all engines: 00:00:07")
sys.exit(len(told["flag"] or "") > 3)
"""
BUILD = BuildSpec(
    commands=(("{python}", "-c", COMPILER, "{checkpoint}", "{output}/engine.json"),),
    kind="stand-in engine",
    time_pattern=r"Total time of building all engines: (\d+:\d\d:\d\d)",
)


def built(image: EngineImage, root: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> Built:
    def described(variant: Variant) -> BuildSpec:
        return replace(BUILD, env=tuple((one.name, one.value) for one in variant.env))

    monkeypatch.setitem(ADAPTERS, "stand_in", replace(adapter_of(SPEC), build_spec=described))
    variant = Variant(
        engine="stand_in",
        engine_version="1.2.0",
        model=Model(name="m", source=SyntheticSource(kind="synthetic")),
        quantization=Quantization.BF16,
        runtime="container",
        env=(EnvironmentVariable(name="FLAG", value=flag),),
    )

    def model(folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_text("some weights")
        return {}

    home = Home(root)
    made = ArtifactStore(home.artifacts).get_or_make("model", {"a": 1}, model)
    log = root / "build.log"
    return build.fn(variant, checkpoint=made, model=made, runs_in=image, home=home, log_file=log)


def test_a_build_in_a_container_reads_the_checkpoint_writes_its_output_and_reaches_nothing_else(
    image: EngineImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(image, tmp_path, monkeypatch, "one")
    told = json.loads((made.path / "engine.json").read_text())
    assert (told["weights"], told["flag"]) == ("some weights", "one")
    assert told["failed"] == ["write into the checkpoint", "reach a network"]
    assert made.facts["was_made"]
    assert made.facts["tool_seconds"] == 7.0
    assert made.facts["made_from"]["toolchain"] == (image.digest or image.image_id)
    assert not podman("ps", "--all", "--quiet").split()
    assert not built(image, tmp_path, monkeypatch, "one").facts["was_made"]


def test_a_build_that_fails_in_its_container_leaves_its_log_and_no_engine(
    image: EngineImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildError, match="ended with status 1") as raised:
        built(image, tmp_path, monkeypatch, "a flag that it fails on")
    assert "Total time of building" in raised.value.log_excerpt
    assert "Total time of building" in (tmp_path / "build.log").read_text()
    assert not list((tmp_path / "artifacts").rglob("engine.json"))
