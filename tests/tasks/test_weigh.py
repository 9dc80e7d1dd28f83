"""What the record, the catalog and the person's prices add to a result."""

from pathlib import Path
from typing import Any

import pytest

from experiments.schema.read import catalog
from experiments.schema.result import CellResult, CellState
from experiments.schema.variant import Variant
from experiments.schema.workload import Workload
from tasks.weigh import weighed


def cell(variant: Variant, **provenance: Any) -> CellResult:
    return CellResult(
        cell_id="c", experiment="e", campaign="e-1", launch=1, variant=variant, state=CellState.MEASURED,
        workload=Workload(name="w", prompt_tokens=128, output_tokens=16), provenance=provenance,
    )  # fmt: skip


def test_the_config_of_the_served_files_and_the_machines_own_bandwidth_count(variant: Variant) -> None:
    config = catalog("model_shapes")["qwen2.5-7b-instruct"]["config"]
    measured = [{"working_set_bytes": 2.0**27, "gb_per_s": 8.0}]
    found = weighed(cell(variant, model={"config": config}, machine={"memory_bandwidth": measured})).bounds
    assert found is not None
    assert found.total_params == pytest.approx(7.616e9, rel=1e-3)
    assert (found.bandwidth_gb_per_s, found.weights) == (8.0, "q8_0")


def test_a_model_whose_files_are_elsewhere_has_the_catalogs_shape(variant: Variant) -> None:
    named = variant.model.model_copy(update={"name": "gpt-oss-20b"})
    served = variant.model_copy(update={"model": named, "hardware": "h100-sxm", "runtime": "endpoint"})
    found = weighed(cell(served)).bounds
    assert found is not None
    assert (found.total_params, found.weights) == (20_914_757_184, "mxfp4")


def test_what_is_not_on_record_has_a_reason(variant: Variant) -> None:
    found = weighed(cell(variant))
    assert found.bounds is None
    assert "config.json is not known" in found.bound_reason
    assert found.cost is not None
    assert "no price per hour" in found.cost.reasons["cost"]


def test_what_a_stand_in_answered_has_neither_bound_nor_cost(variant: Variant) -> None:
    pretended = cell(variant.model_copy(update={"stand_in": True}))
    assert weighed(pretended) == pretended


def test_the_persons_prices_count(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.yaml").write_text("cpu: 0.5\n")
    monkeypatch.setenv("DYNO_PRICES", str(tmp_path / "prices.yaml"))
    cost = weighed(cell(variant)).cost
    assert cost is not None
    assert (cost.usd_per_hour, cost.price_source) == ((0.5, 0.5), "given")
