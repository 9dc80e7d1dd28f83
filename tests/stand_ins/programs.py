"""A folder of the stand-ins under the names of the real programs, for DYNO_STAND_INS: `programs.py FOLDER` makes it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = {"trtllm-build": "trtllm_build.py", "trtllm-serve": "trtllm_serve.py", "mlc_llm": "mlc_llm.py"}
PYTHON = f"""case "$1 $2 $3" in
"-m vllm.entrypoints.cli.main serve") shift 3; exec "{sys.executable}" "{HERE}/vllm_serve.py" "$@" ;;
esac
case "$1" in
*/convert_checkpoint.py)
    family=$(basename "$(dirname "$1")"); shift
    exec "{sys.executable}" "{HERE}/convert_checkpoint.py" "$family" "$@" ;;
esac
echo "STAND-IN for python: there is no stand-in for $*" >&2; exit 2
"""
"""An environment's or an image's Python, which knows the modules and scripts that stand-ins are there for."""


def stand_in_programs(folder: Path) -> Path:
    """The folder, with each of them whole whenever another process looks."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = {name: f'exec "{sys.executable}" "{HERE / script}" "$@"\n' for name, script in SCRIPTS.items()}
    for name, command in {**commands, "python": PYTHON}.items():
        aside = folder / f".{name}.{os.getpid()}"
        aside.write_text(f"#!/bin/sh\n{command}")
        aside.chmod(0o755)
        aside.rename(folder / name)
    return folder


if __name__ == "__main__":
    print(stand_in_programs(Path(sys.argv[1])))
