"""On what, and by what, a launch was measured."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

OURS = ("llm-dyno", "prefect", "mlflow", "numpy", "pyarrow", "uvloop", "httptools", "orjson")


def machine() -> dict[str, object]:
    """The host's processor, memory and kernel; nothing that names a person or a host."""
    return {
        "cpu": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def software() -> dict[str, str]:
    """The versions of what measures, and the revision of its source where git can tell."""
    found = {name: version(name) for name in OURS}
    return found | {"python": platform.python_version(), "git_revision": git_revision()}


def git_revision() -> str:
    """The commit of this source tree, with `-dirty` where files differ from it; "" where it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
