"""An experiment: one YAML file, expanded into cells with stable ids."""

import itertools
import json
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_origin

from pydantic import BeforeValidator, Field, model_validator

from experiments.schema.base import METHOD_VERSION, Name, Spec, canonical, id_of_texts
from experiments.schema.cold_start import ColdStartPlan
from experiments.schema.load import LoadPlan
from experiments.schema.model import Model
from experiments.schema.quality import QualityPlan
from experiments.schema.slo import SLO
from experiments.schema.variant import Quantization, Variant
from experiments.schema.workload import Workload

LIST_FIELDS = frozenset(name for name, info in Variant.model_fields.items() if get_origin(info.annotation) is tuple)
"""Fields of a variant that are lists themselves; in every other field a list is an axis."""


def expand_line(line: object) -> object:
    """A line of `variants` as written -> its combinations, in the order written: a list stands for an axis.

    What is not a mapping is handed on as it is, for the parser to refuse.
    """
    if not isinstance(line, dict):
        return (line,)
    axes = {key: value for key, value in line.items() if isinstance(value, list) and key not in LIST_FIELDS}
    for key, values in axes.items():
        if not values:
            raise ValueError(f"{key} is an empty list; an axis has at least one value")
        for index, value in enumerate(values):
            if value in values[:index]:
                raise ValueError(f"{key} names {_written(value)} twice; an axis has each value once: leave one out")
    return tuple(line | dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


VariantLine = Annotated[tuple[Variant, ...], BeforeValidator(expand_line)]


def _one_or_several(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


Names = Annotated[tuple[Name, ...], BeforeValidator(_one_or_several), Field(min_length=1)]
Quantizations = Annotated[tuple[Quantization, ...], BeforeValidator(_one_or_several), Field(min_length=1)]


class Exclusion(Spec):
    """Cells that are left out: those for which every field given here matches; a list matches each of its values.
    `reason` shows in the plan."""

    reason: Annotated[str, Field(min_length=1)]
    engine: Names | None = None
    engine_version: Names | None = None
    engine_backend: Names | None = None
    model: Names | None = None
    quantization: Quantizations | None = None
    hardware: Names | None = None
    workload: Names | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self._given():
            raise ValueError("an exclusion names at least one of engine, engine_version, model, quantization, …")
        return self

    def matches(self, variant: Variant, workload: Workload) -> bool:
        """Whether the cell has one of the values of each field that is given."""
        facts: dict[str, Any] = {
            "engine": variant.engine,
            "engine_version": variant.engine_version,
            "engine_backend": variant.engine_backend,
            "model": variant.model.name,
            "quantization": variant.quantization,
            "hardware": variant.hardware,
            "workload": workload.name,
        }
        return all(facts[field] in values for field, values in self._given().items())

    def _given(self) -> dict[str, Any]:
        return {k: v for k, v in self.model_dump(exclude={"reason"}).items() if v is not None}


class Experiment(Spec):
    """Variants × workloads under one load plan. `name` is the file's stem; it is not written in the file."""

    name: Name
    description: str = ""
    models: tuple[Model, ...] = ()
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)]
    variants: Annotated[tuple[VariantLine, ...], Field(min_length=1)]
    exclude: tuple[Exclusion, ...] = ()
    load_plan: LoadPlan = LoadPlan()
    slos: tuple[SLO, ...] = ()
    quality: QualityPlan | None = None
    cold_start: ColdStartPlan | None = None
    seed: int = 0

    def cells(self) -> tuple["Cell", ...]:
        """Every variant on every workload, in the order written; equal cells once."""
        found: dict[str, Cell] = {}
        workloads = [(workload, canonical(workload.identity())) for workload in self.workloads]
        kind, asked = (canonical("cell"), canonical(METHOD_VERSION)), [canonical(part) for part in self._asked()]
        for index, line in enumerate(self.variants):
            for variant in line:
                identity = canonical(variant.identity())
                for workload, shape in workloads:
                    key = id_of_texts(*kind, identity, shape, *asked)
                    if key not in found:
                        found[key] = Cell(key, variant, workload, index, self._excluded(variant, workload))
        return tuple(found.values())

    def _excluded(self, variant: Variant, workload: Workload) -> str:
        return next((one.reason for one in self.exclude if one.matches(variant, workload)), "")

    def _asked(self) -> tuple[object, ...]:
        """How each cell is measured. The SLOs say only how the records are judged, unless they are searched for; what
        is not asked for leaves the ids as they are."""
        searched = self.slos if self.load_plan.capacity is not None else ()
        quality = [self.quality.asked()] if self.quality else []
        cold_start = [{"cold_start": self.cold_start}] if self.cold_start else []
        return self.load_plan.identity(), [str(slo) for slo in searched], self.seed, *quality, *cold_start


@dataclass(frozen=True, slots=True)
class Cell:
    """Variant × workload. `line` is the index in `variants` that it comes from, `excluded` the reason if it is."""

    id: str
    variant: Variant
    workload: Workload
    line: int
    excluded: str = ""
