"""The house: who may import whom, and where an engine may be named."""

import re
import subprocess
import sys
from pathlib import Path

from engine_adapters import ADAPTERS

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way() -> None:
    """The contracts stand in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_code_outside_the_adapters_decides_by_an_engines_name() -> None:
    """`if engine == …` belongs into one file of engine_adapters/. A format or a runtime may be called so too."""
    names = "|".join(ADAPTERS)
    of_another_thing = r"(?<!runtime )(?<!format )(?<!format\"\] )"
    decides = re.compile(rf"{of_another_thing}(==|!=|\bin\b|\bcase\b)\s*[\[(]?\s*[\"']({names})[\"']")
    for folder in ("experiments", "tasks", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not decides.search(path.read_text()), path
