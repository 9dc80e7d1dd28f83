"""The real parser of a release: its wheel's Python files, beside what they import, under a Python of their own."""

import hashlib
import json
import os
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_adapters.base import EngineAdapter
from experiments.errors import BuildError, InputError
from tasks.flags.table import Option, OptionTable
from tasks.flags.under_engine import MARK

PARSERS = Path(__file__).parents[2] / "engine_adapters" / "parsers"
UNDER_ENGINE = Path(__file__).with_name("under_engine.py")

SHARED = (
    "torch==2.13.0",
    "transformers==5.19.0",
    *("aiohttp", "fastapi", "uvicorn", "openai", "pillow", "requests", "psutil", "pyzmq", "msgspec", "uvloop", "cbor2"),
    *("pybase64", "cloudpickle", "cachetools", "sentencepiece", "protobuf", "partial-json-parser", "einops"),
    *("watchfiles", "prometheus-client"),
)
"""What the engines' argument modules import, all of them together: no engine itself, and no CUDA."""

READ = (".py", ".json", "METADATA", "entry_points.txt")
"""Of a wheel: its compiled parts (nine tenths of it) build no parser."""

PARSING_TIMEOUT_S = 300.0


def requirements(adapters: Sequence[EngineAdapter]) -> tuple[str, ...]:
    """What one environment needs in which the parsers of all these engines can be built."""
    own = {one for adapter in adapters if adapter.option_source for one in adapter.option_source.requirements}
    return (*SHARED, *sorted(own - set(SHARED)))


@dataclass(frozen=True, slots=True)
class RealParser:
    """The parser of one release. `files` is where the Python files of its wheel lie."""

    adapter: EngineAdapter
    version: str
    python: Path
    files: Path
    wheel: str
    sha256: str

    def table(self) -> OptionTable:
        """Its options, as they are stored."""
        said = self._run("dump", "")
        options = {name: Option(**option) for name, option in said["options"].items()}
        source = {"wheel": self.wheel, "sha256": self.sha256}
        return OptionTable(self.adapter.name, self.version, self._program(), source, options, said["positionals"])

    def problems(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """For each list of arguments the parser's own words against it, "" where it takes them."""
        filled = [[PLACEHOLDERS.get(word, word) for word in arguments] for arguments in commands]
        said = self._run("parse", json.dumps(filled))
        assert isinstance(said, list)
        return [str(one) for one in said]

    def _program(self) -> str:
        source = self.adapter.option_source
        assert source is not None
        return " ".join(source.program[1:])

    def _run(self, what: str, told: str) -> Any:
        program = [str(self.python), str(UNDER_ENGINE), str(PARSERS / f"{self.adapter.name}.py"), what]
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
        done = subprocess.run(
            program,
            input=told,
            env=kept | {"PYTHONPATH": str(self.files), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=PARSING_TIMEOUT_S,
        )
        _, found, said = done.stdout.partition(MARK)
        if done.returncode or not found:
            words = "\n".join(done.stderr.splitlines()[-15:])
            raise BuildError(f"{self.adapter.title} {self.version}: its parser cannot be built", log_excerpt=words)
        return json.loads(said)


PLACEHOLDERS = {"{model}": "/model", "{host}": "127.0.0.1", "{port}": "8000"}


def real_parser(
    adapter: EngineAdapter, version: str, *, python: Path, folder: Path, say: Callable[[str], None]
) -> RealParser:
    """Downloads the wheel with that Python's pip, once. Raises InputError where the adapter names none."""
    if adapter.option_source is None:
        raise InputError(f"{adapter.title}: its options are not learned from a wheel")
    files = folder / f"{adapter.name}-{version}"
    record = files / "wheel.json"
    if not record.exists():
        say(f"{adapter.title} {version}: fetching its wheel")
        _fetch(f"{adapter.option_source.wheel}=={version}", python, files)
    wheel = json.loads(record.read_text())
    return RealParser(adapter, version, python, files, wheel["wheel"], wheel["sha256"])


def _fetch(requirement: str, python: Path, files: Path) -> None:
    """Unpacked beside, and renamed when whole; the wheel itself is removed."""
    aside = files.with_name(f"{files.name}.partial")
    aside.mkdir(parents=True, exist_ok=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary"]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [*pip, ":all:", "--dest", str(aside), requirement]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    wheels = sorted(aside.glob("*.whl"))
    if done.returncode or not wheels:
        raise BuildError(f"{requirement} cannot be had from the package index", log_excerpt=done.stderr[-1500:])
    (wheel,) = wheels
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(aside, [name for name in packed.namelist() if name.endswith(READ)])
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wheel.unlink()
    (aside / "wheel.json").write_text(json.dumps({"wheel": wheel.name, "sha256": digest}))
    aside.rename(files)
