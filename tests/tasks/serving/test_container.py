"""The command line of a container, word by word: for docker, and for podman."""

from pathlib import Path

import pytest

from engine_adapters.base import LaunchSpec
from experiments.errors import LaunchError
from tasks.serving.container import ContainerCLI, ContainerRun, Limits, Mount, client_environment, run_argv
from tasks.serving.container_cli import default_limits
from tasks.serving.container_server import container_run
from tasks.serving.images import EngineImage
from tasks.serving.server import LAUNCHERS

DIGEST = f"sha256:{'ab' * 32}"
DOCKER = ContainerCLI("/usr/bin/docker", "docker", "28.1.0")
PODMAN = ContainerCLI("/usr/bin/podman", "podman", "5.4.0")
RUN = ContainerRun(
    image=f"docker.io/vllm/vllm-openai@{DIGEST}",
    name="dyno-0123",
    command=("serve", "/dyno/model", "--port", "8000"),
    entrypoint="vllm",
    env=(("HF_TOKEN", "hf_of_a_person"), ("PLAIN", "two words"), ("LD_PRELOAD", "/lib/x.so")),
    mounts=(Mount(Path("/store/weights"), "/dyno/model"), Mount(Path("/store/out"), "/dyno/out", is_writable=True)),
    labels=(("dyno.lease", "dyno-0123"), ("dyno.owner.pid", "77")),
    gpus=("0", "3"),
    shm_gib=16.0,
    limits=Limits(memory_bytes=2**34, cpus=7.5, processes=4096, ulimits=(("nofile", 65536), ("memlock", -1))),
)


def words(text: str) -> list[str]:
    """A command line as it is read, without quoting."""
    return text.split()


COMMON_START = words("""
run --name dyno-0123 --pull never --log-driver none --network host --stop-timeout 2
--label dyno.lease=dyno-0123 --label dyno.owner.pid=77
--cap-drop all --cap-add DAC_OVERRIDE --security-opt no-new-privileges --security-opt label=disable
--pids-limit 4096 --memory 17179869184b --memory-swap 17179869184b --cpus 7.5
--ulimit nofile=65536:65536 --ulimit memlock=-1:-1
""")
COMMON_END = words(f"""
--shm-size 17179869184b
--mount type=bind,source=/store/weights,target=/dyno/model,readonly
--mount type=bind,source=/store/out,target=/dyno/out
--env HF_TOKEN --env PLAIN --env LD_PRELOAD=/lib/x.so
--entrypoint vllm docker.io/vllm/vllm-openai@{DIGEST} serve /dyno/model --port 8000
""")


def test_docker_is_given_its_gpus_as_one_quoted_device_list() -> None:
    assert list(run_argv(DOCKER, RUN)) == [DOCKER.path, *COMMON_START, "--gpus", '"device=0,3"', *COMMON_END]


def test_podman_is_given_its_gpus_by_their_cdi_names() -> None:
    gpus = ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=3"]
    assert list(run_argv(PODMAN, RUN)) == [PODMAN.path, *COMMON_START, *gpus, *COMMON_END]


@pytest.mark.parametrize("cli", [DOCKER, PODMAN], ids=lambda cli: cli.flavour)
def test_what_is_not_asked_for_is_not_on_the_line(cli: ContainerCLI) -> None:
    bare = words("""
    run --name n --pull never --log-driver none --network none --stop-timeout 2 --cap-drop all --cap-add DAC_OVERRIDE
    --security-opt no-new-privileges --security-opt label=disable --pids-limit 32768 an-image
    """)
    assert list(run_argv(cli, ContainerRun("an-image", "n", (), network="none"))) == [cli.path, *bare]


def test_no_value_of_a_secret_is_on_the_line_and_the_client_has_it() -> None:
    assert not [word for word in run_argv(DOCKER, RUN) if "hf_of_a_person" in word or "two words" in word]
    environment = client_environment(RUN, {"PATH": "/usr/bin", "HOME": "/root"})
    assert environment == {
        "PATH": "/usr/bin",
        "HOME": "/root",
        "HF_TOKEN": "hf_of_a_person",
        "PLAIN": "two words",
    }


@pytest.mark.parametrize("name", ["PATH", "LD_LIBRARY_PATH", "DOCKER_HOST", "CONTAINERS_CONF", "https_proxy"])
def test_what_would_steer_the_client_itself_does_not_reach_it(name: str) -> None:
    run = ContainerRun("i", "n", (), env=((name, "x"),))
    assert f"{name}=x" in run_argv(DOCKER, run)
    assert client_environment(run, {}) == {}


def test_a_path_that_the_option_cannot_say_is_refused() -> None:
    run = ContainerRun("i", "n", (), mounts=(Mount(Path("/a,b"), "/dyno/model"),))
    with pytest.raises(LaunchError, match=r"/a,b: a path with a comma"):
        run_argv(DOCKER, run)


def filled(tmp_path: Path, spec: LaunchSpec, model: Path, gpus: tuple[str, ...] = ()) -> ContainerRun:
    image = EngineImage(PODMAN, "vllm/vllm-openai:v0.33.0", f"docker.io/vllm/vllm-openai@{DIGEST}", DIGEST, "id")
    return container_run(
        spec, image, "dyno-1", model=model, files=tmp_path, port=8123, gpus=gpus, limits=Limits(), labels=(("a", "b"),)
    )


def test_one_spec_is_filled_with_the_containers_own_paths(tmp_path: Path) -> None:
    argv = ("{python}", "{launchers}/llama_cpp.py", "{model}", "{host}", "{port}", "{files}/a.yaml", "--x={model}")
    spec = LaunchSpec(
        argv=argv, files=(("a.yaml", "text"),), env=(("A", "1"),), shm_gib=8, gpus=1, entrypoint=("/bin/env", "-i")
    )
    run = filled(tmp_path, spec, tmp_path, ("2",))
    assert run.entrypoint == "/bin/env"
    inside = ("python3", "/dyno/launchers/llama_cpp.py", "/dyno/model", "127.0.0.1", "8123", "/dyno/files/a.yaml")
    assert run.command == ("-i", *inside, "--x={model}")
    assert run.mounts == (
        Mount(tmp_path, "/dyno/model"),
        Mount(LAUNCHERS, "/dyno/launchers"),
        Mount(tmp_path, "/dyno/files"),
    )
    assert dict(run.env) == {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "A": "1"}
    assert (run.image, run.gpus, run.shm_gib, run.network) == (
        f"docker.io/vllm/vllm-openai@{DIGEST}",
        ("2",),
        8,
        "host",
    )


def test_without_an_entrypoint_the_images_own_stays(tmp_path: Path) -> None:
    run = filled(tmp_path, LaunchSpec(argv=("--port", "{port}")), tmp_path)
    assert (run.entrypoint, run.command) == ("", ("--port", "8123"))
    assert "--entrypoint" not in run_argv(PODMAN, run)


def test_a_container_without_gpus_is_told_to_see_none(tmp_path: Path) -> None:
    """An image that asks for all gets them where NVIDIA's runtime is docker's default."""
    run = filled(tmp_path, LaunchSpec(argv=()), tmp_path)
    assert dict(run.env)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert not {"--gpus", "--device"} & set(run_argv(DOCKER, run))


def test_the_limits_of_a_launch_throttle_nothing_and_keep_swap_out() -> None:
    limits = default_limits()
    assert limits.cpus is None
    assert limits.memory_bytes is not None
    meminfo = Path("/proc/meminfo").read_text().splitlines()
    total_bytes = int(next(line for line in meminfo if line.startswith("MemTotal")).split()[1]) * 1024
    assert 0.9 * total_bytes < limits.memory_bytes < total_bytes
    assert {name for name, _ in limits.ulimits} == {"nofile", "nproc", "memlock", "stack"}
