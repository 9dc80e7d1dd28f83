"""Imported trials by our own definitions: what is shown, and what is not because the file cannot tell it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.schema.result import PointResult
from experiments.schema.slo import parse_slo
from tasks.import_trial import import_file, import_json
from tasks.loadgen.record import read_records

RESULT = Path(__file__).parent / "interchange/captured/vllm-0.32-schema-by-hand.json"


@pytest.fixture
def result(tmp_path: Path) -> Callable[..., Path]:
    def make(times: int = 1) -> Path:
        path = tmp_path / "result.json"
        path.write_text("\n".join([json.dumps(json.loads(RESULT.read_text()))] * times))
        return path

    return make


def absent_figures(document: dict[str, Any], path: str = "") -> Iterator[str]:
    """The keys whose figure is null without a reason beside it."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from absent_figures(value, f"{path}{key}.")
        elif value is None and not key.endswith("_reason") and not document.get(f"{key}_reason"):
            yield f"{path}{key}"


def test_the_document_is_a_measured_trial_s_beside_its_source(result: Callable[..., Path]) -> None:
    found = import_json(import_file(result(), (), None))
    assert found["imported_from"] == {"tool": "vllm", "version": "", "file": "result.json", "model": "example/model"}
    assert found["requests"] == sum(found["outcomes"].values()) == 5
    assert found["outcomes"]["completed"] == 3
    assert found["ttft_ms"]["p50"] == pytest.approx(50.0, abs=1e-3)
    assert found["output_tokens_per_s"] == pytest.approx(11 / 1.5)
    assert found["unknown"]
    assert list(absent_figures(found)) == []


def test_nothing_imported_is_valid(result: Callable[..., Path]) -> None:
    found = import_json(import_file(result(), (), None))
    assert found["valid"] is False
    assert found["invalid_reasons"][0].startswith("imported from vllm bench serve: ")


def test_what_counts_from_the_due_time_is_absent_with_its_reason(result: Callable[..., Path]) -> None:
    found = import_json(import_file(result(), (), None))
    for name in ("ttft_response_ms", "e2e_response_ms"):
        assert found[name]["n"] == 0
        assert "due" in found[name]["p50_reason"]
    assert found["client"]["lateness_ms"]["n"] == 0
    assert found["offered_rps"] is None
    assert "4 rps" in found["offered_rps_reason"]


def test_how_many_were_in_flight_needs_the_ends_of_requests(result: Callable[..., Path]) -> None:
    found = import_json(import_file(result(), (), None))
    assert found["mean_concurrency"] is None
    assert "over" in found["mean_concurrency_reason"]


def test_an_slo_is_held_only_against_what_the_file_tells(result: Callable[..., Path]) -> None:
    slos = [parse_slo(text) for text in ("ttft_response:p50<100ms", "ttft:p50<100ms")]
    found = import_json(import_file(result(), slos, None))
    blind, seen = found["slos"]
    assert (blind["slo"], blind["attainment"], blind["verdict"]) == (str(slos[0]), None, "unknown")
    assert "due" in blind["reason"]
    assert seen["attainment"] == 3 / 5
    assert found["goodput_rps"] is None
    assert import_json(import_file(result(), slos[1:], None))["goodput_rps"] == pytest.approx(3 / 1.5)


def test_records_and_trial_are_kept(result: Callable[..., Path], tmp_path: Path) -> None:
    (imported,) = import_file(result(), (), tmp_path / "out")
    kept = PointResult.model_validate_json((tmp_path / "out/trial.json").read_bytes())
    assert kept == imported
    assert read_records(tmp_path / "out/requests.parquet")["due_at_ns"].null_count == 5


def test_several_trials_have_a_folder_each(result: Callable[..., Path], tmp_path: Path) -> None:
    found = import_json(import_file(result(3), (), tmp_path / "out"))
    assert [trial["requests"] for trial in found["trials"]] == [5, 5, 5]
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/trial.json")) == ["0", "1", "2"]
