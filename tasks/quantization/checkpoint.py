"""Checkpoints: the artifact that an engine loads, made from a model's weights by the recipe that its adapter names."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from tasks.quantization.calibration import Calibration
from tasks.quantization.check_files import check_checkpoint
from tasks.quantization.file_types import FILE_TYPES, RECIPE_VERSION, FileType
from tasks.quantization.ggml import identify
from tasks.quantization.gguf_file import gguf_package
from tasks.quantization.recipes import TOOL_RECIPES, Recipe
from tasks.quantization.run_worker import run_worker
from tasks.quantization.source_files import adopt_source_config, adopt_source_files

Progress = Callable[[str], None]
ENTRY = "model.gguf"


class Weights(Protocol):
    """What is asked of an artifact here: tasks/artifacts has it."""

    @property
    def path(self) -> Path:
        """The folder of its files."""
        ...

    @property
    def key(self) -> str:
        """Its identity."""
        ...

    def check(self) -> None:
        """Raises SetupError where its files have changed."""
        ...


WeightsT = TypeVar("WeightsT", bound=Weights)
WeightsT_co = TypeVar("WeightsT_co", bound=Weights, covariant=True)


class Store(Protocol[WeightsT_co]):
    """What is asked of the store here: tasks/artifacts has it."""

    def get_or_make(
        self,
        kind: str,
        made_from: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        entry: str,
        progress: Progress,
    ) -> WeightsT_co:
        """The artifact made from `made_from`."""
        ...


class ToolEnvironment(Protocol):
    """What is asked of an environment here: tasks/serving has it."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        ...

    def version(self, package: str) -> str:
        """The resolved version of a package; "" where it is not in there."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What makers may use beside the weights.

    `ggml_library` is the engine's compiled library (`find_ggml_library`); K-quants need it. `environment` makes, or
    finds, the one for a tool's requirements. `calibration` is what recipes look at that need data; `device` is cpu or
    cuda.
    """

    progress: Progress
    ggml_library: Path | None = None
    environment: Callable[[tuple[str, ...]], ToolEnvironment] | None = None
    calibration: Calibration | None = None
    device: str = "cpu"


def make_checkpoint(
    model: WeightsT,
    spec: CheckpointSpec,
    store: Store[WeightsT],
    *,
    progress: Progress,
    ggml_library: Path | None = None,
    environment: Callable[[tuple[str, ...]], ToolEnvironment] | None = None,
    calibration: Calibration | None = None,
    device: str = "cpu",
) -> WeightsT:
    """The model itself where the engine loads it as it is, else an artifact made once and verified.

    The keywords are those of `Means`. Raises QuantizationError for a model, tokenizer or recipe that cannot be made,
    and SetupError where the disk is full.
    """
    maker = RECIPES.get((spec.format, spec.recipe))
    if maker is None:
        known = ", ".join(f"{fmt}/{recipe}" for fmt, recipe in RECIPES)
        raise QuantizationError(f"no recipe makes {spec.format}/{spec.recipe}; there are {known}")
    means = Means(progress, ggml_library, environment, calibration, device)
    checkpoint: WeightsT = maker(model, spec, store, means)
    return checkpoint


def _as_is(model: WeightsT, spec: CheckpointSpec, store: Store[WeightsT], means: Means) -> WeightsT:
    return model


def _gguf(model: WeightsT, spec: CheckpointSpec, store: Store[WeightsT], means: Means) -> WeightsT:
    library = means.ggml_library
    file_type = FILE_TYPES[spec.recipe]
    tools = _tools(file_type, library)
    made_from = {"model": model.key, "format": "gguf", "recipe": spec.recipe, "recipe_version": RECIPE_VERSION, **tools}

    def make(folder: Path) -> Mapping[str, Any]:
        model.check()
        used = str(library) if "ggml" in tools else None
        job = {"folder": str(model.path), "output": str(folder / ENTRY), "file_type": spec.recipe, "library": used}
        facts = _timed(lambda: run_worker(job, progress=means.progress))
        model.check()  # a file that changed while it was read would make weights of two models
        return {**facts, "tools": tools}

    return store.get_or_make("gguf", made_from, make, entry=ENTRY, progress=means.progress)


def _tools(file_type: FileType, library: Path | None) -> dict[str, Any]:
    """What the bytes depend on beside the weights and the recipe: the library counts only where it quantizes."""
    try:
        tools: dict[str, Any] = {"gguf": version("gguf")}
    except PackageNotFoundError:
        gguf_package()  # raises, and says what to install
        raise
    if file_type.is_quantized and library is not None:
        tools["ggml"] = identify(library).to_json()
    return tools


def _timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The facts with the seconds that the worker took, its start and its load of the weights included."""
    started = time.monotonic()
    facts = work()
    return {**facts, "quantize_seconds": round(time.monotonic() - started, 3)}


def _with_a_tool(model: WeightsT, spec: CheckpointSpec, store: Store[WeightsT], means: Means) -> WeightsT:
    """The key holds the tool's pins, not what they resolved to: a hit needs no environment of several GB."""
    recipe = TOOL_RECIPES[spec.format, spec.recipe]
    what = f"{spec.format}/{spec.recipe}"
    if recipe.needs_gpu and means.device == "cpu":
        raise QuantizationError(f"{what} cannot be made on a machine without a GPU: {recipe.needs_gpu}.")
    calibration = _calibration(recipe, what, means)
    made_from = {
        "model": model.key,
        "format": spec.format,
        "recipe": spec.recipe,
        "recipe_version": recipe.version,
        "scheme": recipe.scheme,
        "tool": list(recipe.tool.requirements),
        "calibration": calibration.identity() if calibration else None,
        "device": means.device,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        model.check()
        facts = _run_tool(recipe, what, model.path, folder, calibration, means)
        model.check()  # a file that changed while it was read would make weights of two models
        return {**facts, "calibration": made_from["calibration"], "device": means.device, "scheme": recipe.scheme}

    return store.get_or_make(spec.format, made_from, make, entry="", progress=means.progress)


def _calibration(recipe: Recipe, what: str, means: Means) -> Calibration | None:
    if recipe.calibrated and means.calibration is None:
        raise QuantizationError(f"{what} looks at activations: it needs calibration data, and none was given")
    return means.calibration if recipe.calibrated else None


def _run_tool(
    recipe: Recipe, what: str, source: Path, output: Path, calibration: Calibration | None, means: Means
) -> dict[str, Any]:
    """Made, given the model's own files, and checked; the facts."""
    if means.environment is None:
        raise QuantizationError(f"{what} needs {recipe.tool.name}, and no environment can be made for it here")
    environment = means.environment(recipe.tool.requirements)
    job = {
        "what": what,
        "folder": str(source),
        "output": str(output),
        "format": recipe.format,
        "scheme": recipe.scheme,
        "tensor_parallel": recipe.tensor_parallel,
        "device": means.device,
        "calibration": asdict(calibration) if calibration else None,
    }
    program, python = recipe.tool.program, environment.python
    facts = _timed(lambda: run_worker(job, progress=means.progress, program=program, python=python))
    adopt_source_files(source, output)
    if recipe.format != "tensorrt_llm":  # whose config.json is in words of its own
        adopt_source_config(source, output)
    means.progress(f"{what}: checking its files")
    checked = check_checkpoint(source, output, recipe.format, recipe.name)
    tools = {name: environment.version(name) for name in recipe.tool.records}
    return {**facts, **checked, "tools": tools}


RECIPES: dict[tuple[str, str], Callable[..., Any]] = {
    ("safetensors", "as_is"): _as_is,
    **{("gguf", name): _gguf for name in FILE_TYPES},
    **dict.fromkeys(TOOL_RECIPES, _with_a_tool),
}
"""(format, recipe) of a CheckpointSpec to what makes it."""
