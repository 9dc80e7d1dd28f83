"""Which GPU is there, as the driver says it: what a compiled engine is bound to."""

import shutil
import subprocess

QUERY = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
TIMEOUT_S = 60.0


def gpu_identity(program: str = "nvidia-smi") -> dict[str, str] | None:
    """Name, compute capability and driver version; those of different GPUs joined by " + ". None without a driver."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        said = subprocess.run([found, *QUERY], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = [[part.strip() for part in line.split(",")] for line in said.stdout.splitlines()]
    whole = [row for row in dict.fromkeys(tuple(row) for row in rows) if len(row) == 3]
    if said.returncode or not whole:
        return None
    names, capabilities, drivers = (" + ".join(dict.fromkeys(column)) for column in zip(*whole, strict=True))
    return {"name": names, "compute_capability": capabilities, "driver": drivers}
