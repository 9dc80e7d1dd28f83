"""The GPUs of a launch through NVML: what they say at one moment."""

import time
from collections.abc import Callable
from typing import Any

READINGS = (
    "utilisation_percent",
    "memory_used_bytes",
    "power_w",
    "temperature_c",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "throttle_reasons",
    "energy_j",
)
"""In this order after the time and the GPU's index; None where a GPU does not tell. `energy_j` counts from the load of
the driver."""


class NoGpus(Exception):
    """Why there is nothing to read."""


class Gpus:
    """Those of `chosen`, each by its UUID or by NVML's index, opened. Raises NoGpus where NVML or one of them is not
    there."""

    def __init__(self, chosen: tuple[str, ...]) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NoGpus("the Python package nvidia-ml-py is not installed") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            handles = [self._handle(name) for name in chosen]
            self._gpus = {int(pynvml.nvmlDeviceGetIndex(handle)): self._readings(handle) for handle in handles}
        except pynvml.NVMLError as error:
            raise NoGpus(f"NVML does not give GPU {', '.join(chosen)}: {error}") from error

    def rows(self) -> list[list[Any]]:
        """One a GPU: the time, its index, READINGS. Raises NoGpus where one does not answer any more."""
        return [[time.monotonic_ns(), index, *map(self._read, tell)] for index, tell in self._gpus.items()]

    def _handle(self, name: str) -> Any:
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name.encode())

    def _readings(self, handle: Any) -> list[Callable[[], Any]]:
        """A function for each of READINGS."""
        nvml = self._nvml
        return [
            lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
            lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
        ]

    def _read(self, tell: Callable[[], Any]) -> Any:
        """None where this GPU, its driver, or a slice of it does not know such a thing."""
        unknown = (self._nvml.NVML_ERROR_NOT_SUPPORTED, self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        try:
            return tell()
        except self._nvml.NVMLError as error:
            if error.value in (*unknown, self._nvml.NVML_ERROR_NO_PERMISSION):
                return None
            raise NoGpus(f"a GPU stopped answering: {error}") from error
