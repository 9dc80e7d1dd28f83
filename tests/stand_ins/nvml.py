"""The stand-in for libnvidia-ml.so.1, compiled: what pynvml loads where LD_LIBRARY_PATH names its folder."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "stand_in_nvml.c"


def compile_nvml(folder: Path) -> Path | None:
    """The folder with the library; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE], check=True)
    return folder
