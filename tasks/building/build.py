"""A BuildSpec becomes an artifact: its commands run in order, into a folder that is an engine only when all is done."""

import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from engine_adapters.base import BuildSpec
from experiments.errors import BuildError
from experiments.schema.variant import Variant
from tasks.building.identity import GPU, made_from
from tasks.building.log import log_end, told_bytes, told_seconds

KIND = "engine"
LOG_NAME = "build.log"
SCRATCH = ".scratch"
KILLED = 143
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json", ".h5", ".msgpack", ".onnx")
MEMORY_IS = "resident memory of all processes of a command together, sampled ten times a second"


class Files(Protocol):
    """What is asked of an artifact here: tasks/artifacts has it."""

    @property
    def path(self) -> Path:
        """The folder of its files."""
        ...

    @property
    def entry(self) -> Path:
        """What is given to whoever loads it."""
        ...

    @property
    def bytes(self) -> int:
        """Of all files together."""
        ...

    @property
    def sha256s(self) -> Mapping[str, str]:
        """Of each file, by its name."""
        ...

    @property
    def was_made(self) -> bool:
        """Just now, and not found."""
        ...

    def check(self) -> None:
        """Raises SetupError where its files have changed."""
        ...


FilesT = TypeVar("FilesT", bound=Files)
FilesT_co = TypeVar("FilesT_co", bound=Files, covariant=True)


class Store(Protocol[FilesT_co]):
    """What is asked of the store here: tasks/artifacts has it."""

    def get_or_make(
        self,
        kind: str,
        made_from: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        entry: str,
        needed_bytes: int,
        progress: Callable[[str], None],
    ) -> FilesT_co:
        """The artifact made from `made_from`."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One command as it is to run: with `env` added, its output appended to `log`, in the folder `cwd`. It reads the
    folders `reads` and writes into those of `writes`, by these very paths."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    log: Path
    cwd: Path
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `peak_bytes` is None where nobody looked in time."""

    status: int
    peak_bytes: int | None = None


RunStep = Callable[[Step], Ended]
"""Runs a command where the server would run, and ends all of it whatever becomes of us."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Where the commands run: `identity` is the digest of an image or of an environment's resolved packages, `python`
    what `{python}` stands for in there, `gpu` what is compiled for."""

    run: RunStep
    python: str
    identity: str
    gpu: GPU | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an engine is compiled from: the checkpoint, and the model's own files."""

    checkpoint: Files
    model: Files


def build_engine(
    variant: Variant,
    spec: BuildSpec,
    inputs: Inputs,
    store: Store[FilesT],
    toolchain: Toolchain,
    *,
    log: Path,
    say: Callable[[str], None],
) -> FilesT:
    """The compiled engine: made at most once, whatever the number of processes that ask for it at the same time.

    `log` receives what the commands print, also where they fail or are killed; that of an engine that is there already
    is copied to it. Raises BuildError with the end of the log, and SetupError where the disk is full.
    """

    def make(output: Path) -> Mapping[str, Any]:
        say(f"compiling the {spec.kind} of {variant.label}; what it prints is in {log}")
        facts = _make(spec, inputs, toolchain, output, log)
        _copy(log, output / LOG_NAME)
        return facts

    built = store.get_or_make(
        KIND,
        _made_from(variant, spec, inputs, toolchain),
        make,
        entry=spec.loads,
        needed_bytes=inputs.checkpoint.bytes,
        progress=say,
    )
    if not built.was_made:
        _copy(built.path / LOG_NAME, log)
    return built


def _made_from(variant: Variant, spec: BuildSpec, inputs: Inputs, toolchain: Toolchain) -> dict[str, Any]:
    beside = {name: sha for name, sha in inputs.model.sha256s.items() if _is_beside_weights(name)}
    return made_from(
        variant,
        spec,
        checkpoint=inputs.checkpoint.sha256s,
        tokenizer=beside,
        toolchain=toolchain.identity,
        gpu=toolchain.gpu,
    )


def _make(spec: BuildSpec, inputs: Inputs, toolchain: Toolchain, output: Path, log: Path) -> dict[str, Any]:
    scratch = output / SCRATCH
    scratch.mkdir()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    for one in (inputs.checkpoint, inputs.model):
        one.check()
    steps = [_run(command, spec, inputs, toolchain, output, log) for command in spec.commands]
    for one in (inputs.checkpoint, inputs.model):
        one.check()  # a file that changed while it was read would make an engine of two models
    if spec.tokenizer_folder:
        _copy_tokenizer(inputs.model, output / spec.tokenizer_folder)
    shutil.rmtree(scratch)
    _require_output(spec, output, log)
    return _facts(spec, steps, log)


def _run(
    command: Sequence[str], spec: BuildSpec, inputs: Inputs, toolchain: Toolchain, output: Path, log: Path
) -> dict[str, Any]:
    """Runs one command of the spec, and says what it took. Raises BuildError where it fails."""
    argv = _filled(command, inputs, toolchain, output)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(argv)}\n")
    began = time.monotonic()
    reads = (inputs.checkpoint.path, inputs.model.path)
    ended = toolchain.run(Step(argv, spec.env, log, output / SCRATCH, reads, (output,)))
    if ended.status != 0:
        how = "was killed by a signal" if ended.status == KILLED else f"ended with status {ended.status}"
        raise BuildError(
            f"the {spec.kind} could not be compiled: {_name(command)} {how}. All that it printed is in {log}",
            log_excerpt=log_end(log),
        )
    return {
        "command": _name(command),
        "argv": list(command),
        "seconds": round(time.monotonic() - began, 3),
        "peak_memory_bytes": ended.peak_bytes,
    }


def _filled(command: Sequence[str], inputs: Inputs, toolchain: Toolchain, output: Path) -> tuple[str, ...]:
    values = {"{python}": toolchain.python, "{checkpoint}": str(inputs.checkpoint.entry)}
    values |= {"{model}": str(inputs.model.path), "{output}": str(output)}
    folders = {"{output}": output, "{scratch}": output / SCRATCH}

    def filled(word: str) -> str:
        folder, slash, rest = word.partition("/")
        return str(folders[folder] / rest) if slash and folder in folders else values.get(word, word)

    return tuple(map(filled, command))


def _name(command: Sequence[str]) -> str:
    """What people call it: the program, or the script that it runs, and what of it where that is a word."""
    words = [word for word in command[:3] if not word.startswith(("{python}", "-"))]
    named = [Path(words[0]).name, *(word for word in words[1:2] if not word.startswith("{"))]
    return " ".join(named)


def _is_beside_weights(name: str) -> bool:
    return "/" not in name and not name.endswith(WEIGHTS)


def _copy_tokenizer(model: Files, folder: Path) -> None:
    """Byte for byte: a tokenizer that is saved anew may have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in filter(_is_beside_weights, model.sha256s):
        shutil.copyfile(model.path / name, folder / name)


def _require_output(spec: BuildSpec, output: Path, log: Path) -> None:
    made = [path for path in output.rglob("*") if path.is_file() and path.parent.name != spec.tokenizer_folder]
    if not made or not (output / spec.loads).exists():
        raise BuildError(
            f"the {spec.kind} could not be compiled: its commands ended well and left "
            f"{'no ' + spec.loads if made else 'nothing'}. All that they printed is in {log}",
            log_excerpt=log_end(log),
        )


def _facts(spec: BuildSpec, steps: Sequence[Mapping[str, Any]], log: Path) -> dict[str, Any]:
    """What the tracking store shows of a build."""
    peaks = [step["peak_memory_bytes"] for step in steps if step["peak_memory_bytes"] is not None]
    return {
        "kind": spec.kind,
        "steps": list(steps),
        "seconds": round(sum(step["seconds"] for step in steps), 3),
        "peak_memory_bytes": max(peaks, default=None),
        "peak_memory_is": MEMORY_IS if peaks else "not seen: the commands ran in a container, or too short",
        "tool_seconds": told_seconds(log, spec.time_pattern),
        "tool_peak_memory_bytes": told_bytes(log, spec.memory_pattern),
    }


def _copy(source: Path, target: Path) -> None:
    """Written aside and renamed; nothing where there is no source."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, aside)
    aside.rename(target)
