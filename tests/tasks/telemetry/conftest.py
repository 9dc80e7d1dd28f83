"""A stand-in for NVIDIA's library, which the real pynvml loads in the process that watches."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine
from tests.stand_ins.nvml import compile_nvml

IDLE = (0, 2 << 30, 70_000, 31, 345, 2619, 1, 1)
"""Utilisation, memory, mW, °C, SM and memory clock, throttle reasons, whether it counts energy."""

GpuLines = Callable[..., None]


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled stand-in."""
    folder = compile_nvml(tmp_path_factory.mktemp("stand_in_nvml"))
    if folder is None:
        pytest.skip("no C compiler: the stand-in for libnvidia-ml.so.1 cannot be made")
    return folder


@pytest.fixture
def stand_in_gpus(nvml_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuLines:
    """Says what the stand-in tells from now on: a tuple as IDLE for each GPU."""
    told = tmp_path / "gpus"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_folder))
    monkeypatch.setenv("STAND_IN_NVML", str(told))

    def tell(*gpus: tuple[int, ...]) -> None:
        aside = told.with_suffix(".aside")
        aside.write_text("".join(f"GPU-{n}{n}{n} {' '.join(map(str, gpu))}\n" for n, gpu in enumerate(gpus)))
        aside.rename(told)

    tell(IDLE)
    return tell


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running
