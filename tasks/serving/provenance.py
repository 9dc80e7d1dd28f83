"""On what, and by what, a launch was measured."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

OURS = ("llm-dyno", "prefect", "mlflow", "numpy", "pyarrow", "uvloop", "httptools", "orjson")
GOVERNORS = Path("/sys/devices/system/cpu")
START_OF_LOG_BYTES = 4 * 2**20


def machine() -> dict[str, object]:
    """The host's processor, memory and kernel; nothing that names a person or a host."""
    return {
        "cpu": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "cpu_governor": _cpu_governor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def software() -> dict[str, str]:
    """The versions of what measures, and the revision of its source where git can tell."""
    found = {name: version(name) for name in OURS}
    return found | {"python": platform.python_version(), "git_revision": git_revision()}


def effective_backend(pattern: str, log: Path) -> str:
    """The backend that the server's log says is really in use, by the first group of the adapter's pattern; or the
    words that say why it is not known. Read from the log's beginning, where a start is told."""
    if not pattern:
        return "not told: no line of this engine's log is known to name it"
    try:
        with log.open("rb") as file:
            text = file.read(START_OF_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return "not told: there is no log"
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "not told: no line of the log names it"


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


def _cpu_governor() -> str:
    """How the cores' clocks are governed, each kind once; what virtual machines do not tell is said to be unknown."""
    found = {path.read_text().strip() for path in sorted(GOVERNORS.glob("cpu[0-9]*/cpufreq/scaling_governor"))}
    return ", ".join(sorted(found)) or "unknown: the kernel does not tell"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
