"""The stages around a container: its image pulled, its server measured on, its end proved, its facts on record."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import CheckpointSpec, EngineAdapter, LaunchSpec, RequestDialect, nothing_to_build
from experiments.errors import PullError, WrongVersion
from experiments.schema.failure import FailureClass
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.pull import pull
from tasks.serve import Loadable, launched, runs_in_container, serve
from tasks.serving.images import EngineImage
from tasks.teardown import teardown
from tests.tasks.serving.engine_image import IMAGE, podman
from tests.tasks.serving.test_container_podman import SERVES

SPEC = LaunchSpec(argv=SERVES, image=IMAGE, entrypoint=("{python}", "-u"), served_model="fake", start_timeout_s=60.0)


def adapter_of(spec: LaunchSpec) -> EngineAdapter:
    return EngineAdapter(
        name="stand_in",
        title="the stand-in engine",
        runtimes=("container",),
        launch_spec=lambda _: spec,
        checkpoint=lambda _: CheckpointSpec("safetensors", "as_is"),
        build_spec=nothing_to_build,
        request_dialect=lambda _: RequestDialect(),
        release_package="stand-in-engine",
        backend_pattern=r"^http://(127\.0\.0\.1):\d+$",
    )


@pytest.fixture
def variant(image: EngineImage, monkeypatch: pytest.MonkeyPatch) -> Variant:
    monkeypatch.setitem(ADAPTERS, "stand_in", adapter_of(SPEC))
    return Variant(
        engine="stand_in",
        engine_version="1.2.0",
        model=Model(name="m", source=SyntheticSource(kind="synthetic")),
        quantization=Quantization.BF16,
        runtime="container",
    )


def test_a_container_goes_through_the_stages_and_is_on_record(variant: Variant, tmp_path: Path) -> None:
    assert runs_in_container(variant)
    image = pull.fn(variant)
    (tmp_path / "model").mkdir()
    loadable = Loadable(image, tmp_path / "model")
    log = tmp_path / "server.log"
    with serve(variant, loadable=loadable, log_file=log, leases=tmp_path / "leases") as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        facts = launched(variant, server)
        assert server.process is not None
        assert server.process.container is not None
        labels = podman("inspect", "--format", "{{json .Config.Labels}}", server.process.container.name)
        assert f'"dyno.variant":"{variant.id}"' in labels
    teardown.fn(server)
    assert facts["backend"] == "127.0.0.1"
    assert "launch_gpus" not in facts
    assert image.facts() == {
        "kind": "container",
        "cli": f"podman {image.cli.version}",
        "image": IMAGE,
        "digest": image.digest,
        "id": image.image_id,
    }


def test_another_release_than_was_asked_for_is_a_class_of_failure(variant: Variant) -> None:
    with pytest.raises(WrongVersion) as raised:
        pull.fn(variant.model_copy(update={"engine_version": "1.3.0"}))
    assert raised.value.failure_class is FailureClass.WRONG_VERSION


def test_an_engine_without_an_image_says_so(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "stand_in", adapter_of(replace(SPEC, image="")))
    with pytest.raises(PullError, match=r"no image of the stand-in engine 1\.2\.0 is known"):
        pull.fn(variant)
