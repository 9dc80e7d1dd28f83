"""Trials as they lie on disk, to be written for another tool: requests.parquet and trial.json of one folder each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from experiments.errors import InputError
from experiments.schema.result import CellResult, Distribution, PointResult
from tasks.interchange.imported import OUTER_CHUNKS_ONLY
from tasks.loadgen.record import read_records

RECORDS, TRIAL, CELL = "requests.parquet", "trial.json", "cell.json"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One trial. `model` and `endpoint` are empty where the folder does not tell them; `about` is for people."""

    point: PointResult
    table: pa.Table
    model: str = ""
    endpoint: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def knows_chunks(self) -> bool:
        """Whether the table has every chunk's time: what was imported from a GuideLLM report has the outer two."""
        gaps = self.point.summary.latencies.get("icl_ms", Distribution())
        return self.point.imported_from is None or gaps.reasons.get("mean") not in OUTER_CHUNKS_ONLY

    def rows(self) -> list[dict[str, Any]]:
        """The records, one dict a request."""
        return list(self.table.to_pylist())

    def started_at(self) -> datetime:
        """In UTC where trial.json names no zone; the start of 1970 where it names no time."""
        try:
            told = datetime.fromisoformat(self.point.started_at)
        except ValueError:
            return datetime.fromtimestamp(0, UTC)
        return told if told.tzinfo else told.replace(tzinfo=UTC)


def read_measured(folder: Path) -> Measured:
    """The trial in a folder. Raises InputError where a file is missing or is none of ours."""
    point = _point(folder / TRIAL)
    try:
        table = read_records(folder / RECORDS)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{folder / RECORDS}: cannot be read: {error}") from None
    cell = _cell_of(folder)
    source = point.imported_from
    if cell is None:
        model = source.model if source else point.model
        return Measured(point, table, model=model, endpoint=point.endpoint, about=_about_point(point))
    about = _about_point(point) | {"cell": cell.cell_id, "variant": cell.variant.label}
    about |= {"workload": cell.workload.name, "campaign": cell.campaign}
    return Measured(point, table, cell.variant.model.name, cell.workload.endpoint, about)


def read_all(folder: Path) -> list[Measured]:
    """The trial of a folder, or all those below it (a launch, a cell, a campaign), by cell, launch and step."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folders = [folder] if (folder / TRIAL).is_file() else sorted(path.parent for path in folder.rglob(TRIAL))
    if not folders:
        raise InputError(f"{folder}: no {TRIAL} in it or below it: give the folder of a trial, a cell or a campaign")
    found = [(path.parent, read_measured(path)) for path in folders]
    return [trial for _, trial in sorted(found, key=lambda pair: (str(pair[0]), pair[1].point.point.step))]


def _about_point(point: PointResult) -> dict[str, str]:
    about = {"step": str(point.point.step), "role": point.point.role, "valid": str(point.summary.valid).lower()}
    reasons = "; ".join(point.summary.invalid_reasons)
    source = point.imported_from
    return (
        about
        | {"method_version": point.summary.method_version}
        | ({"invalid_reasons": reasons} if reasons else {})
        | ({"imported_from": f"{source.tool} {source.version} {source.file}".replace("  ", " ")} if source else {})
    )


def _point(path: Path) -> PointResult:
    try:
        return PointResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {where}: {first['msg']}: not of this version of dyno; export it with the one that measured it"
        ) from None


def _cell_of(folder: Path) -> CellResult | None:
    """Of campaigns/EXPERIMENT/NUMBER/CELL/launch-N/STEP-ROLE."""
    for path in _parents(folder.absolute()):
        if (path / CELL).is_file():
            try:
                return CellResult.model_validate_json((path / CELL).read_bytes())
            except (OSError, ValidationError, json.JSONDecodeError):
                return None
    return None


def _parents(folder: Path) -> Iterator[Path]:
    yield from (folder, *folder.parents[:2])
