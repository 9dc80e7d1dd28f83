"""A stand-in of the module pynvml (nvidia-ml-py 13) for machines without a GPU: the names, the signatures and the kinds
of answers that dyno uses. It computes nothing, and what it says is made up; test_gpus.py holds it against the real
module where that is installed."""

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM = 0, 2
MEMORY_V2 = 0x02000028


class StandInError(Exception):
    """As NVMLError: of a question that this GPU, or this driver, does not know."""


@dataclass
class StandInGpu:
    """One device; `unknown` are the names of functions that it does not support."""

    name: str = "NVIDIA Stand-in 80GB"
    uuid: str = "GPU-0badc0de-0000-0000-0000-000000000000"
    used_bytes: int = 4 * 2**20
    processes: dict[int, int | None] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def stand_in_nvml(gpus: list[StandInGpu], *, has_driver: bool = True, names: dict[int, str] | None = None) -> Any:
    """The module, with these devices."""
    module: Any = ModuleType("pynvml")
    module.NVMLError = StandInError
    module.NVML_CLOCK_GRAPHICS, module.NVML_CLOCK_MEM = NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM
    module.nvmlMemory_v2 = MEMORY_V2

    def answers(name: str, of_device: Any) -> None:
        def asked(handle: StandInGpu, *more: Any, **options: Any) -> Any:
            if name in handle.unknown:
                raise StandInError("Not Supported")
            return of_device(handle, *more, **options)

        setattr(module, name, asked)

    def init() -> None:
        if not has_driver:
            raise StandInError("NVML Shared Library Not Found")

    def process_name(pid: int) -> str:
        if pid not in (names or {}):
            raise StandInError("Not Found")
        return (names or {})[pid]

    def memory(gpu: StandInGpu, version: int | None = None) -> Any:
        reserved = 0 if version == MEMORY_V2 else 600 * 2**20
        return SimpleNamespace(total=80 * 2**30, used=gpu.used_bytes + reserved, free=0)

    def running(gpu: StandInGpu) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in gpu.processes.items()]

    module.nvmlInit, module.nvmlShutdown = init, lambda: None
    module.nvmlDeviceGetCount = lambda: len(gpus)
    module.nvmlDeviceGetHandleByIndex = lambda index: gpus[index]
    module.nvmlSystemGetDriverVersion = lambda: "580.65.06"
    module.nvmlSystemGetCudaDriverVersion = lambda: 13000
    module.nvmlSystemGetProcessName = process_name
    answers("nvmlDeviceGetName", lambda gpu: gpu.name)
    answers("nvmlDeviceGetUUID", lambda gpu: gpu.uuid)
    answers("nvmlDeviceGetCudaComputeCapability", lambda _: (9, 0))
    answers("nvmlDeviceGetMemoryInfo", memory)
    answers("nvmlDeviceGetComputeRunningProcesses", running)
    answers("nvmlDeviceGetEnforcedPowerLimit", lambda _: 650_000)
    answers("nvmlDeviceGetPowerManagementDefaultLimit", lambda _: 700_000)
    answers("nvmlDeviceGetMaxClockInfo", lambda _, kind: {NVML_CLOCK_GRAPHICS: 1980, NVML_CLOCK_MEM: 2619}[kind])
    answers("nvmlDeviceGetApplicationsClock", lambda _, kind: {NVML_CLOCK_GRAPHICS: 1755, NVML_CLOCK_MEM: 2619}[kind])
    answers("nvmlDeviceGetMigMode", lambda _: [0, 0])
    answers("nvmlDeviceGetEccMode", lambda _: [1, 1])
    answers("nvmlDeviceGetPersistenceMode", lambda _: 1)
    return module
