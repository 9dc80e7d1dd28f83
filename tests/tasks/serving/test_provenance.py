"""What a record says of the machine and of the engine that ran on it."""

import os
from pathlib import Path

import pytest

from tasks.serving import provenance
from tasks.serving.provenance import effective_backend, machine

LOG = "INFO 11-21 Using FLASHINFER attention backend\nINFO Using CUTLASS kernels\n"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"Using (\S+) attention backend", "FLASHINFER"),
        (r"^INFO Using (\S+) kernels$", "CUTLASS"),
        (r"backend: (\S+)", "not told: no line of the log names it"),
        ("", "not told: no line of this engine's log is known to name it"),
    ],
)
def test_the_backend_is_what_the_log_says(pattern: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text(LOG)
    assert effective_backend(pattern, tmp_path / "server.log") == found


def test_a_log_that_is_not_there_names_no_backend(tmp_path: Path) -> None:
    assert effective_backend(r"(\S+)", tmp_path / "none") == "not told: there is no log"


def test_the_machine_tells_how_its_clocks_are_governed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "GOVERNORS", tmp_path)
    assert machine()["cpu_governor"] == "unknown: the kernel does not tell"
    for core, governor in enumerate(("performance", "powersave", "performance")):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    assert machine()["cpu_governor"] == "performance, powersave"
    assert machine()["cpu_cores"] == os.cpu_count()
