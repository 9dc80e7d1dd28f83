"""Real containers, by podman, from an image of this machine's own files: started, measured, ended, and never left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from engine_adapters.base import LaunchSpec, RequestDialect
from experiments.errors import LaunchError, PullError, ServerDied, SetupError, WrongVersion
from tasks.serving import container_server
from tasks.serving.container_cli import default_limits, find_cli, reap_containers
from tasks.serving.container_server import running_container
from tasks.serving.images import EngineImage, check_image_release, engine_image
from tasks.serving.lease import Container, leases, owner_labels, reap, this_process
from tasks.serving.server import Server
from tests.tasks.serving.engine_image import IMAGE, podman

ENDS_AT_ONCE = """
import runpy, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
del sys.argv[0]
runpy.run_path(sys.argv[0], None, "__main__")
"""
"""The first process of a container has no default answer to SIGTERM: it is deaf unless it has one of its own."""

SERVES = ("-c", ENDS_AT_ONCE, "/fake_engine.py", "--host", "{host}", "--port", "{port}")


def spec_of(*argv: str, **fields: object) -> LaunchSpec:
    return replace(
        LaunchSpec(argv=argv, entrypoint=("{python}", "-u"), served_model="fake", start_timeout_s=60.0),
        **fields,  # type: ignore[arg-type]
    )


@contextmanager
def running(tmp_path: Path, image: EngineImage, spec: LaunchSpec, **how: object) -> Iterator[Server]:
    with running_container(
        spec,
        RequestDialect(),
        image=image,
        model=tmp_path / "model",
        log=tmp_path / "server.log",
        leases=tmp_path / "leases",
        what="a server",
        say=lambda _: None,
        **how,  # type: ignore[arg-type]
    ) as server:
        yield server


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8}')
    return tmp_path / "model"


def containers() -> list[str]:
    return podman("ps", "--all", "--format", "{{.Names}}").split()


def until(is_true: Callable[[], object], limit_s: float = 30.0) -> bool:
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        if is_true():
            return True
        time.sleep(0.05)
    return False


def test_an_image_is_known_by_its_digest_and_what_is_in_it(image: EngineImage) -> None:
    (facts,) = json.loads(podman("image", "inspect", IMAGE))
    assert image.digest == facts["Digest"]
    assert image.pinned == f"localhost/dyno-stand-in@{facts['Digest']}"
    assert image.packages == (("stand-in-engine", "1.2.0"),)


def test_another_release_in_the_image_is_not_measured(image: EngineImage) -> None:
    check_image_release(image, "Stand_In.Engine", "1.2.0")
    check_image_release(image, "not-in-it", "1.2.0")
    with pytest.raises(WrongVersion, match=r"holds stand-in-engine 1\.2\.0, and 1\.3\.0 was asked for"):
        check_image_release(image, "stand-in-engine", "1.3.0")


def test_a_server_in_a_container_answers_and_leaves_nothing(tmp_path: Path, image: EngineImage) -> None:
    before = containers()
    with running(tmp_path, image, spec_of(*SERVES)) as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        server.check_alive()
        assert server.process is not None
        assert server.process.container is not None
        assert containers() == [*before, server.process.container.name]
        assert f"localhost/dyno-stand-in@{image.digest}" in server.argv
        assert "--label" not in server.argv  # who starts this by hand is no owner that has gone
    assert containers() == before
    assert list((tmp_path / "leases").iterdir()) == []
    assert server.url in (tmp_path / "server.log").read_text()
    with pytest.raises(ServerDied):
        server.check_alive()


SHOWS = """
import json, os, pathlib, sys
def first(path):
    try: return pathlib.Path(path).read_text()
    except OSError as error: return error.strerror
try:
    pathlib.Path("/dyno/model/new").write_text("x"); wrote = True
except OSError:
    wrote = False
status = dict(line.split(":\\t", 1) for line in first("/proc/self/status").splitlines() if ":\\t" in line)
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "config": first(sys.argv[1] + "/config.json"),
                  "text": first(sys.argv[2]), "wrote": wrote, "caps": status["CapEff"], "bounds": status["CapBnd"],
                  "privileges": status["NoNewPrivs"], "shm": os.statvfs("/dev/shm").f_blocks *
                  os.statvfs("/dev/shm").f_frsize, "seccomp": status["Seccomp"]}))
"""


def shown(tmp_path: Path, image: EngineImage, spec: LaunchSpec) -> dict[str, object]:
    """What the program in the container sees of itself."""
    with (
        pytest.raises(LaunchError, match="ended with status 0 before it was ready"),
        running(tmp_path, image, spec),
    ):
        pass
    text = (tmp_path / "server.log").read_text()
    found: dict[str, object] = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return found


def test_a_container_gets_what_the_spec_says_and_no_more(
    tmp_path: Path, image: EngineImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths, mounts, environment, shared memory and privileges, as the program inside has them."""
    monkeypatch.setenv("HF_TOKEN", "hf_notforyou")
    monkeypatch.setenv("OF_THE_HOST", "1")
    spec = spec_of(
        "-c", SHOWS, "{model}", "{files}/notes.txt", "{launchers}/llama_cpp.py", "{host}", "--a={port}",
        files=(("notes.txt", "a text, with ünicode"),),
        env=(("PLAIN", "two words"), ("NUMBERS", '{"a": 1}\n'), ("PATH", "/usr/bin")),
        shm_gib=0.25,
    )  # fmt: skip
    seen = shown(tmp_path, image, spec)
    inside = ["/dyno/model", "/dyno/files/notes.txt", "/dyno/launchers/llama_cpp.py", "127.0.0.1", "--a={port}"]
    assert seen["argv"] == inside
    env = seen["env"]
    assert isinstance(env, dict)
    assert {name: env.get(name) for name in ("PLAIN", "NUMBERS", "PATH", "NVIDIA_VISIBLE_DEVICES")} == {
        "PLAIN": "two words", "NUMBERS": '{"a": 1}\n', "PATH": "/usr/bin", "NVIDIA_VISIBLE_DEVICES": "void",
    }  # fmt: skip
    assert not {"HF_TOKEN", "OF_THE_HOST"} & set(env)
    assert (seen["config"], seen["text"], seen["wrote"]) == ('{"hidden_size": 8}', "a text, with ünicode", False)
    dac_override = f"{1 << 1:016x}"
    assert (seen["caps"], seen["bounds"], seen["privileges"]) == (dac_override, dac_override, "1")
    assert seen["shm"] == 2**28


def test_a_model_of_one_file_is_mounted_with_its_folder(tmp_path: Path, image: EngineImage, model: Path) -> None:
    log = tmp_path / "server.log"
    says = "import os, sys; print(sys.argv[1], sorted(os.listdir(os.path.dirname(sys.argv[1]))))"
    with (
        pytest.raises(LaunchError),
        running_container(
            spec_of("-c", says, "{model}"), RequestDialect(), image=image, model=model / "config.json", log=log,
            leases=tmp_path / "leases", what="a server", say=lambda _: None,
        ),
    ):  # fmt: skip
        pass
    assert "/dyno/model/config.json ['config.json']" in log.read_text()


OWNER = """
import sys, time
from pathlib import Path
from tests.tasks.serving.test_container_podman import SERVES, running, spec_of
from tasks.serving.container_cli import find_cli
from tasks.serving.images import EngineImage
folder = Path(sys.argv[1])
with running(folder, EngineImage(find_cli(), sys.argv[2], sys.argv[2], "", ""), spec_of(*SERVES)) as server:
    print(server.process.container.name, server.process.guard.pid, flush=True)
    time.sleep(600)
"""


@contextmanager
def owned(tmp_path: Path) -> Iterator["tuple[subprocess.Popen[str], str, int]"]:
    """An owner in a process of its own whose container is up: the owner, the container's name, the guard's number."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", OWNER, str(tmp_path), IMAGE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        try:
            assert owner.stdout is not None
            name, guard = owner.stdout.readline().split()
            yield owner, name, int(guard)
        finally:
            owner.kill()


def test_a_container_ends_with_its_owner(tmp_path: Path, image: EngineImage) -> None:
    with owned(tmp_path) as (owner, name, _):
        assert name in containers()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert until(lambda: name not in containers())


def kill_owner_and_guard(owner: "subprocess.Popen[str]", guard: int) -> None:
    owner.send_signal(signal.SIGSTOP)  # so that it does not see its guard go
    os.kill(guard, signal.SIGKILL)
    owner.kill()
    owner.wait()


def test_what_survives_owner_and_guard_is_found_by_its_lease(tmp_path: Path, image: EngineImage) -> None:
    with owned(tmp_path) as (owner, name, guard):
        assert reap(tmp_path / "leases") == []
        kill_owner_and_guard(owner, guard)
        assert name in containers()
        assert reap(tmp_path / "leases") == ["a server"]
        assert name not in containers()
        assert list(leases(tmp_path / "leases")) == []


@pytest.mark.engines
def test_what_no_lease_names_any_more_is_found_by_its_labels(tmp_path: Path, image: EngineImage) -> None:
    with owned(tmp_path) as (owner, name, guard):
        assert reap_containers(image.cli, lambda _: None) == []
        kill_owner_and_guard(owner, guard)
        said: list[str] = []
        assert reap_containers(image.cli, said.append) == [name]
        assert name in said[0]
        assert name not in containers()


@pytest.mark.parametrize(
    ("labels", "is_removed"),
    [
        ({"dyno.owner.started_ticks": "1"}, True),
        ({"dyno.owner.started_ticks": "1", "dyno.owner.boot_id": "another machine"}, False),
        ({"dyno.owner.started_ticks": "1", "dyno.owner.pid_namespace": "pid:[1]"}, False),
        ({}, False),
    ],
)
def test_only_what_is_surely_ownerless_is_removed(labels: dict[str, str], is_removed: bool, image: EngineImage) -> None:
    """A number that is this process's, with another start time, is another process's that is gone."""
    name = "dyno-stranger"
    words = [f"--label={key}={value}" for key, value in (owner_labels(this_process()) | labels).items()]
    podman("create", "--name", name, "--label=dyno.lease=x", *words, "--entrypoint", "python3", image.pinned)
    try:
        assert reap_containers(image.cli, lambda _: None) == ([name] if is_removed else [])
    finally:
        Container(image.cli.path, name).remove()


def test_a_server_that_takes_too_much_memory_is_named_as_that(tmp_path: Path, image: EngineImage) -> None:
    limits = replace(default_limits(), memory_bytes=64 * 2**20)
    hungry = "print('loading', flush=True); kept = [bytearray(8 * 2**20) for _ in range(64)]"
    with (
        pytest.raises(LaunchError, match="was killed by the kernel, out of memory") as raised,
        running(tmp_path, image, spec_of("-c", hungry), limits=limits),
    ):
        pass
    assert "loading" in raised.value.log_excerpt
    assert "dyno: the container has ended: status=137" in raised.value.log_excerpt


def test_an_exit_status_comes_out_of_the_container(tmp_path: Path, image: EngineImage) -> None:
    dies = "import sys; print('no such weights'); sys.exit(3)"
    with (
        pytest.raises(LaunchError, match="ended with status 3 before") as raised,
        running(tmp_path, image, spec_of("-c", dies)),
    ):
        pass
    assert "no such weights" in raised.value.log_excerpt


@pytest.mark.engines
def test_a_port_that_is_taken_is_in_the_log(
    tmp_path: Path, image: EngineImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, image, spec_of(*SERVES)) as server:
        port = int(server.url.rpartition(":")[2])
        monkeypatch.setattr(container_server, "free_port", lambda: port)
        binds = "import socket; socket.socket().bind(('127.0.0.1', int(__import__('sys').argv[1])))"
        second = tmp_path / "second"
        (second / "model").mkdir(parents=True)
        spec = spec_of("-c", binds, "{port}", ready_path="/never")
        with pytest.raises(LaunchError, match="ended with status 1") as raised, running(second, image, spec):
            pass
        assert "Address already in use" in raised.value.log_excerpt


@pytest.mark.parametrize(
    "asked",
    [
        "localhost/no-such-image:1",
        pytest.param(f"localhost/dyno-stand-in@sha256:{'0' * 64}", marks=pytest.mark.engines),
        pytest.param("127.0.0.1:9/there/is:none", marks=pytest.mark.engines),
    ],
)
def test_an_image_that_cannot_be_had_is_said(asked: str, image: EngineImage) -> None:
    said: list[str] = []
    with pytest.raises(PullError, match="could not be had") as raised:
        engine_image(image.cli, asked, said.append)
    assert raised.value.stage == "pull"
    assert said[0].startswith("pulling ")


def test_the_client_that_answers_is_taken(image: EngineImage, tmp_path: Path) -> None:
    """Podman may be called docker, and a docker whose service is down is of no use."""
    renamed, mute = tmp_path / "renamed", tmp_path / "mute"
    write_program(renamed / "docker", f'exec {image.cli.path} "$@"')
    write_program(mute / "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert find_cli({"PATH": f"{renamed}:/usr/bin"}).flavour == "podman"
    assert find_cli({"PATH": f"{mute}:{Path(image.cli.path).parent}"}) == image.cli
    with pytest.raises(SetupError, match="Cannot connect to the Docker daemon"):
        find_cli({"PATH": str(mute), "DYNO_CONTAINER_CLI": "docker"})
    with pytest.raises(SetupError, match="nerdctl is not on PATH"):
        find_cli({"PATH": "/usr/bin", "DYNO_CONTAINER_CLI": "nerdctl"})


def write_program(path: Path, line: str) -> None:
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
