"""dyno report: the page, its data as JSON, and what it says where there is nothing."""

import json
import re
from pathlib import Path

import pytest

from experiments.errors import InputError
from flows.cli_report import offer, report
from tasks.campaigns.campaign import Campaign
from tests.tasks.reporting.almanac.synthetic_cells import synthetic_cells


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DYNO_HOME", str(tmp_path / "store"))
    return tmp_path / "store"


def test_a_store_without_results_says_how_to_make_some(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dyno run"):
        report(tmp_path / "almanac.html")
    assert not (tmp_path / "almanac.html").exists()


def test_the_page_is_written_and_the_json_writes_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign("synthetic", home / "campaigns" / "synthetic" / "1")
    cells = synthetic_cells(3)
    for cell in cells:
        campaign.save(cell)
    report(tmp_path / "almanac.html")
    assert "<!doctype html>" in (tmp_path / "almanac.html").read_text()
    report(tmp_path / "none.html", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert sorted(document["cells"]["id"]) == sorted(cell.cell_id for cell in cells)
    assert "'it'\"'\"'s synthetic'" in document["cells"]["command"][0]
    assert not (tmp_path / "none.html").exists()


def test_the_summary_lies_beside_the_page_and_leads_to_its_cells(home: Path, tmp_path: Path) -> None:
    campaign = Campaign("synthetic", home / "campaigns" / "synthetic" / "1")
    cells = synthetic_cells(12)
    for cell in cells:
        campaign.save(cell)
    report(tmp_path / "mine.html")
    for name in ("summary.md", "summary.html"):
        linked = set(re.findall(r"mine\.html#cell=([0-9a-f]+)", (tmp_path / name).read_text()))
        assert linked
        assert linked <= {cell.cell_id for cell in cells}


def test_text_writes_nothing_and_its_json_says_the_same(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Campaign("synthetic", home / "campaigns" / "synthetic" / "1").save(synthetic_cells(1)[0])
    report(tmp_path / "almanac.html", as_text=True)
    told = capsys.readouterr().out
    report(tmp_path / "almanac.html", as_text=True, as_json=True)
    (best,) = json.loads(capsys.readouterr().out)["best"]
    assert best["workload"] in told
    assert list(tmp_path.glob("*.html")) == []


def test_a_folder_that_cannot_be_written_is_said(home: Path, tmp_path: Path) -> None:
    Campaign("synthetic", home / "campaigns" / "synthetic" / "1").save(synthetic_cells(1)[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        report(tmp_path / "file" / "almanac.html")


def test_engines_are_offered_at_a_release_whose_options_are_on_file() -> None:
    assert offer().engines["vllm"] == "0.33.0"
    assert offer().hardware["h100-sxm-x8"] == 8
    assert offer().workloads["in1024-out128"] == (1024, 128)
