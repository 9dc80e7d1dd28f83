"""Checkpoints: the artifact that an engine loads, made from a model's weights by the recipe that its adapter names."""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from engine_adapters.base import CheckpointSpec
from experiments.errors import QuantizationError
from tasks.quantization.file_types import FILE_TYPES, RECIPE_VERSION, FileType
from tasks.quantization.ggml import identify
from tasks.quantization.gguf_file import gguf_package
from tasks.quantization.run_worker import run_worker

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


def make_checkpoint(
    model: WeightsT,
    spec: CheckpointSpec,
    store: Store[WeightsT],
    *,
    progress: Progress,
    ggml_library: Path | None = None,
) -> WeightsT:
    """The model itself where the engine loads it as it is, else an artifact made once and verified.

    `ggml_library` is the engine's compiled library (`find_ggml_library`); K-quants need it. Raises QuantizationError
    for a model, tokenizer or recipe that cannot be made, and SetupError where the disk is full.
    """
    maker = RECIPES.get((spec.format, spec.recipe))
    if maker is None:
        known = ", ".join(f"{fmt}/{recipe}" for fmt, recipe in RECIPES)
        raise QuantizationError(f"no recipe makes {spec.format}/{spec.recipe}; there are {known}")
    checkpoint: WeightsT = maker(model, spec, store, progress, ggml_library)
    return checkpoint


def _as_is(
    model: WeightsT, spec: CheckpointSpec, store: Store[WeightsT], progress: Progress, library: Path | None
) -> WeightsT:
    return model


def _gguf(
    model: WeightsT, spec: CheckpointSpec, store: Store[WeightsT], progress: Progress, library: Path | None
) -> WeightsT:
    file_type = FILE_TYPES[spec.recipe]
    tools = _tools(file_type, library)
    made_from = {"model": model.key, "format": "gguf", "recipe": spec.recipe, "recipe_version": RECIPE_VERSION, **tools}

    def make(folder: Path) -> Mapping[str, Any]:
        model.check()
        used = str(library) if "ggml" in tools else None
        job = {"folder": str(model.path), "output": str(folder / ENTRY), "file_type": spec.recipe, "library": used}
        facts = run_worker(job, progress=progress)
        model.check()  # a file that changed while it was read would make weights of two models
        return {**facts, "tools": tools}

    return store.get_or_make("gguf", made_from, make, entry=ENTRY, progress=progress)


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


RECIPES: dict[tuple[str, str], Callable[..., Any]] = {
    ("safetensors", "as_is"): _as_is,
    **{("gguf", name): _gguf for name in FILE_TYPES},
}
"""(format, recipe) of a CheckpointSpec to what makes it."""
