"""The build stage: what an engine loads as it is, and what is compiled for it in its environment, with stand-ins."""

from pathlib import Path

from experiments.schema.variant import Variant
from tasks.artifacts.store import ArtifactStore
from tasks.build import Built, build, gpu_of
from tasks.building.identity import GPU
from tasks.campaigns.home import Home
from tasks.serving.container import ContainerCLI, run_argv
from tasks.serving.container_command import command_run
from tasks.serving.environment import Environment
from tasks.serving.gpus import GpuFacts
from tasks.serving.images import EngineImage
from tests.tasks.building.toolchains import artifacts, programs, variant_of


def run(variant: Variant, root: Path) -> Built:
    home = Home(root)
    checkpoint, model = artifacts(ArtifactStore(home.artifacts))
    environment = Environment(programs(root) / "python", (("tensorrt-llm", "1.2.1", "aa"),), 0.0)
    return build.fn(
        variant,
        checkpoint=checkpoint,
        model=model,
        runs_in=environment,
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


def facts_of(index: int, name: str = "NVIDIA H200", capability: str = "9.0") -> GpuFacts:
    return GpuFacts(index, name, f"GPU-{index}", capability, "580.65.06", "13.0", 2**37)


def test_what_is_compiled_for_is_the_kind_of_gpu_and_not_how_many_there_are() -> None:
    one, eight = gpu_of([facts_of(0)]), gpu_of([facts_of(index) for index in range(8)])
    assert one == eight == GPU("NVIDIA H200", "9.0", "580.65.06")
    mixed = gpu_of([facts_of(0), facts_of(1, "NVIDIA L4", "8.9")])
    assert mixed == GPU("NVIDIA H200 + NVIDIA L4", "9.0 + 8.9", "580.65.06")
    assert gpu_of([]) is None


def test_in_an_image_a_build_reads_and_writes_by_the_paths_that_it_has_outside(tmp_path: Path) -> None:
    """No registry is in reach here: the command line is what is checked."""
    cli = ContainerCLI("/usr/bin/podman", "podman", "5.4.2")
    image = EngineImage(cli, "toy:1", "toy@sha256:aa", "sha256:aa", "id")
    checkpoint, output = tmp_path / "checkpoint", tmp_path / "output"
    run = command_run(
        ("trtllm-build", "--output_dir", str(output)),
        image,
        "dyno-1",
        env={"X": "1"},
        reads=(checkpoint, checkpoint),
        writes=(output,),
        what="a build",
        gpus=("0", "1"),
    )
    argv = run_argv(cli, run)
    mounts = [argv[i + 1] for i, word in enumerate(argv) if word == "--mount"]
    assert mounts == [
        f"type=bind,source={checkpoint},target={checkpoint},readonly",
        f"type=bind,source={output},target={output}",
    ]
    assert argv[-4:] == ("toy@sha256:aa", "trtllm-build", "--output_dir", str(output))
    assert "nvidia.com/gpu=1" in argv
    assert argv[argv.index("--network") + 1] == "none"
