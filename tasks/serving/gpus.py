"""The GPUs of this machine as NVML describes them: what they are, how they are set, and who computes on them."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

MODULE = "pynvml"
"""Of the distribution nvidia-ml-py."""

BUSY_BYTES = 2**30
"""Memory in use that no process accounts for: another container's, which this pid namespace cannot see."""


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """`cuda` is the newest CUDA that the driver takes. Clocks are the ceilings that are set now, in MHz; None is what
    this GPU does not tell."""

    index: int
    name: str
    uuid: str
    compute_capability: str
    driver: str
    cuda: str
    memory_bytes: int
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    max_graphics_clock_mhz: int | None = None
    max_memory_clock_mhz: int | None = None
    application_graphics_clock_mhz: int | None = None
    application_memory_clock_mhz: int | None = None
    mig: bool | None = None
    ecc: bool | None = None
    persistence: bool | None = None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU; `used_bytes` is None where the driver does not tell."""

    pid: int
    name: str
    used_bytes: int | None

    def __str__(self) -> str:
        used = f", {self.used_bytes / 2**30:.1f} GiB" if self.used_bytes else ""
        return f"process {self.pid} ({self.name or 'of another user or container'}{used})"


class NoNvml(Exception):
    """NVML is not there; the message says what is missing."""


@contextlib.contextmanager
def nvml() -> Iterator[ModuleType]:
    """NVML, ready. Raises NoNvml where there is no nvidia-ml-py, or no driver under it."""
    try:
        library = importlib.import_module(MODULE)
    except ImportError as error:
        raise NoNvml("nvidia-ml-py is not installed, so no GPU can be looked at") from error
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise NoNvml(f"no NVIDIA driver answers here ({error})") from error
    try:
        yield library
    finally:
        library.nvmlShutdown()


def describe_gpus() -> list[GpuFacts]:
    """All GPUs, in the order of the bus. Raises NoNvml."""
    with nvml() as library:
        return [_facts(library, index) for index in range(library.nvmlDeviceGetCount())]


def gpu_facts() -> list[dict[str, object]] | str:
    """For the record: what is known of each GPU, or the words that say why none is."""
    try:
        found = describe_gpus()
    except NoNvml as absent:
        return f"absent: {absent}"
    known = [{name: value for name, value in asdict(gpu).items() if value is not None} for gpu in found]
    return known or "absent: the NVIDIA driver sees no GPU"


def chosen_gpus(gpus: list[GpuFacts], environ: Mapping[str, str] = os.environ) -> list[GpuFacts]:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order, all where it is not set. As CUDA does, it stops at the
    first entry that names none; an index counts in the order of the bus."""
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return gpus
    found: list[GpuFacts] = []
    for word in said.split(","):
        match = next((gpu for gpu in gpus if _is_named(gpu, word.strip())), None)
        if match is None or match in found:
            break
        found.append(match)
    return found


def processes_on(gpu: GpuFacts) -> list[GpuProcess]:
    """Who computes on it; memory that nobody visible holds counts as one process without a name. Raises NoNvml."""
    with nvml() as library:
        handle = library.nvmlDeviceGetHandleByIndex(gpu.index)
        found = [
            GpuProcess(process.pid, _process_name(library, process.pid), process.usedGpuMemory)
            for process in library.nvmlDeviceGetComputeRunningProcesses(handle)
        ]
        used = _used_bytes(library, handle)
    return found or ([GpuProcess(0, "", used)] if used > BUSY_BYTES else [])


def _is_named(gpu: GpuFacts, word: str) -> bool:
    return word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))


def _facts(library: ModuleType, index: int) -> GpuFacts:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    version = library.nvmlSystemGetCudaDriverVersion()

    def told(question: Callable[..., Any], *more: object) -> Any:
        """None where this GPU does not know the question: not every kind has each."""
        try:
            return question(handle, *more)
        except library.NVMLError:
            return None

    mig = told(library.nvmlDeviceGetMigMode)
    ecc = told(library.nvmlDeviceGetEccMode)
    persistence = told(library.nvmlDeviceGetPersistenceMode)
    graphics, memory = library.NVML_CLOCK_GRAPHICS, library.NVML_CLOCK_MEM
    return GpuFacts(
        index=index,
        name=_text(library.nvmlDeviceGetName(handle)),
        uuid=_text(library.nvmlDeviceGetUUID(handle)),
        compute_capability=".".join(map(str, library.nvmlDeviceGetCudaComputeCapability(handle))),
        driver=_text(library.nvmlSystemGetDriverVersion()),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        memory_bytes=int(library.nvmlDeviceGetMemoryInfo(handle).total),
        power_limit_w=_watts(told(library.nvmlDeviceGetEnforcedPowerLimit)),
        power_limit_default_w=_watts(told(library.nvmlDeviceGetPowerManagementDefaultLimit)),
        max_graphics_clock_mhz=told(library.nvmlDeviceGetMaxClockInfo, graphics),
        max_memory_clock_mhz=told(library.nvmlDeviceGetMaxClockInfo, memory),
        application_graphics_clock_mhz=told(library.nvmlDeviceGetApplicationsClock, graphics),
        application_memory_clock_mhz=told(library.nvmlDeviceGetApplicationsClock, memory),
        mig=None if mig is None else bool(mig[0]),
        ecc=None if ecc is None else bool(ecc[0]),
        persistence=None if persistence is None else bool(persistence),
    )


def _used_bytes(library: ModuleType, handle: object) -> int:
    """Without what the driver reserves for itself, which the first version of this question counts in."""
    try:
        return int(library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2).used)
    except library.NVMLError:
        return int(library.nvmlDeviceGetMemoryInfo(handle).used)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _process_name(library: ModuleType, pid: int) -> str:
    try:
        return _text(library.nvmlSystemGetProcessName(pid)).split(" ")[0].rpartition("/")[2]
    except library.NVMLError:
        return ""
