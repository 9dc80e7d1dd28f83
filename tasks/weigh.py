"""What a result is worth: the bounds that it is held against, and what its tokens cost."""

from typing import Any

from experiments.schema.hardware import Hardware
from experiments.schema.prices import own_prices
from experiments.schema.read import catalog
from experiments.schema.result import CellResult
from tasks.analysis.bounds import with_bounds
from tasks.analysis.cost import with_cost


def weighed(cell: CellResult) -> CellResult:
    """With what the hardware would allow and what the tokens cost, from what the result has on record, the catalog and
    the person's prices. What a stand-in answered is worth nothing."""
    if cell.variant.stand_in:
        return cell
    hardware = Hardware.model_validate(catalog("hardware").get(cell.variant.hardware) or _unknown(cell))
    bandwidth = cell.provenance.get("machine", {}).get("memory_bandwidth", [])
    return with_cost(with_bounds(cell, hardware, config=_config(cell), bandwidth=bandwidth), hardware, own_prices())


def _unknown(cell: CellResult) -> dict[str, Any]:
    return {"name": cell.variant.hardware, "gpus": 0}


def _config(cell: CellResult) -> dict[str, Any] | None:
    """Of the files that were served; of the catalog where there are none here."""
    recorded: dict[str, Any] = cell.provenance.get("model", {}).get("config") or {}
    known: dict[str, Any] = catalog("model_shapes").get(cell.variant.model.name) or {}
    return recorded or known.get("config")
