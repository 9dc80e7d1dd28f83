"""What is known of GPUs, and who may measure on one. NVML is a stand-in here (stand_in_nvml.py)."""

import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.errors import LaunchError
from tasks.serving.gpu_lease import leased_gpus
from tasks.serving.gpus import chosen_gpus, describe_gpus, gpu_facts, processes_on
from tests.tasks.serving.stand_in_nvml import StandInGpu, stand_in_nvml

Install = Callable[..., None]
UUIDS = tuple(f"GPU-{number}0000000-aaaa" for number in range(4))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a stand-in with these devices in the place of pynvml."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(*gpus: StandInGpu, **more: object) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", stand_in_nvml(list(gpus), **more))  # type: ignore[arg-type]

    return put


def four() -> tuple[StandInGpu, ...]:
    return tuple(StandInGpu(uuid=uuid) for uuid in UUIDS)


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="nvidia-ml-py is not installed")
def test_the_stand_in_has_nothing_that_nvml_has_not() -> None:
    import pynvml

    for name, made in vars(stand_in_nvml([])).items():
        if name.startswith("nvml") and callable(made):
            real = inspect.signature(vars(pynvml)[name])
            assert len(real.parameters) <= 2
        elif name.startswith("NVML_") or name == "nvmlMemory_v2":
            assert vars(pynvml)[name] == made


def test_a_gpu_is_described_as_nvml_tells(install: Install) -> None:
    install(StandInGpu(), StandInGpu(uuid=UUIDS[1], unknown=("nvmlDeviceGetMigMode", "nvmlDeviceGetApplicationsClock")))
    facts = gpu_facts()
    assert isinstance(facts, list)
    assert facts[0] == {
        "index": 0, "name": "NVIDIA Stand-in 80GB", "uuid": "GPU-0badc0de-0000-0000-0000-000000000000",
        "compute_capability": "9.0", "driver": "580.65.06", "cuda": "13.0", "memory_bytes": 85_899_345_920,
        "power_limit_w": 650.0, "power_limit_default_w": 700.0, "max_graphics_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619, "application_graphics_clock_mhz": 1755, "application_memory_clock_mhz": 2619,
        "mig": False, "ecc": True, "persistence": True,
    }  # fmt: skip
    missing = {"mig", "application_graphics_clock_mhz", "application_memory_clock_mhz"}
    assert set(facts[0]) - set(facts[1]) == missing


def test_where_there_is_no_gpu_the_record_says_why(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(has_driver=False)
    assert gpu_facts() == "absent: no NVIDIA driver answers here (NVML Shared Library Not Found)"
    install()
    assert gpu_facts() == "absent: the NVIDIA driver sees no GPU"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_facts() == "absent: nvidia-ml-py is not installed, so no GPU can be looked at"


@pytest.mark.parametrize(
    ("said", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2", [2]),
        ("3,1", [3, 1]),
        ("GPU-1", [1]),
        (f"{UUIDS[2]},0", [2, 0]),
        ("1,9,2", [1]),
        ("-1", []),
        ("1,1", [1]),
        ("MIG-1", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(said: str | None, indices: list[int], install: Install) -> None:
    install(*four())
    environ = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert [gpu.index for gpu in chosen_gpus(describe_gpus(), environ)] == indices


def test_memory_that_nobody_visible_holds_is_somebodys(install: Install) -> None:
    """What the driver reserves for itself is nobody's."""
    install(StandInGpu(), StandInGpu(used_bytes=3 * 2**30))
    free, taken = describe_gpus()
    assert processes_on(free) == []
    assert [str(one) for one in processes_on(taken)] == ["process 0 (of another user or container, 3.0 GiB)"]


def lease(count: int, tmp_path: Path, said: list[str] | None = None) -> list[int]:
    with leased_gpus(count, tmp_path, (said if said is not None else []).append, wait_s=0.5, release_s=0.3) as gpus:
        return [gpu.index for gpu in gpus]


def test_a_launch_without_gpus_looks_at_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert lease(0, tmp_path) == []
    with pytest.raises(LaunchError, match=r"takes 1 GPU.*nvidia-ml-py is not installed"):
        lease(1, tmp_path)


def test_there_are_as_many_as_are_asked_for_or_it_is_said(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(*four())
    assert lease(2, tmp_path) == [0, 1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert lease(2, tmp_path) == [3, 2]
    with pytest.raises(LaunchError, match=r"takes 3 GPU\(s\), and there are 2 of 4 \(CUDA_VISIBLE_DEVICES"):
        lease(3, tmp_path)


def test_who_computes_on_a_gpu_is_named(tmp_path: Path, install: Install) -> None:
    install(StandInGpu(processes={4711: 5 * 2**30, 12: None}), names={4711: "/usr/bin/python3 -m serve"})
    with pytest.raises(LaunchError) as raised:
        lease(1, tmp_path)
    assert raised.value.message.startswith(
        "GPU 0 (NVIDIA Stand-in 80GB) is in use by process 4711 (python3, 5.0 GiB), "
        "process 12 (of another user or container): "
    )


HOLDS = """
import fcntl, json, os, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(json.dumps({"pid": os.getpid(), "gpu": 0}))
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_two_never_measure_on_one_gpu(tmp_path: Path, install: Install) -> None:
    """Another process holds GPU 0: there is one more, then none, and a holder that dies holds nothing."""
    install(*four()[:2])
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "gpu-0.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert lease(1, tmp_path) == [1]
        said: list[str] = []
        with pytest.raises(LaunchError, match=f"became free in time: .*GPU 0 process {other.pid}"):
            lease(2, tmp_path, said)
        assert f"GPU 0 process {other.pid}" in said[0]
        assert len(said) == 1
        other.kill()
    assert lease(2, tmp_path) == [0, 1]


def test_a_lease_is_held_for_as_long_as_the_block_runs(tmp_path: Path, install: Install) -> None:
    install(*four()[:1])
    with leased_gpus(1, tmp_path, lambda _: None), pytest.raises(LaunchError, match="became free in time"):
        lease(1, tmp_path)
    assert lease(1, tmp_path) == [0]
