"""Campaigns that hosts share never bear the number of one that a store counted."""

from datetime import UTC, datetime
from pathlib import Path

from tasks.campaigns.campaign import open_campaign
from tasks.campaigns.slots import pool_campaign, slot_campaign

NOW = datetime(2026, 11, 21, 2, 0, 30, tzinfo=UTC)


def test_a_slot_has_one_campaign_whoever_asks_and_however_often(tmp_path: Path) -> None:
    assert slot_campaign(tmp_path, "e", NOW).name == "e-202611210200"
    assert slot_campaign(tmp_path, "e", NOW.replace(second=59)) == slot_campaign(tmp_path, "e", NOW)


def test_a_campaign_of_one_store_is_not_shared_and_one_that_is_goes_on(tmp_path: Path) -> None:
    (tmp_path / "e" / "3").mkdir(parents=True)
    first = pool_campaign(tmp_path, "e", now=NOW)
    assert first.folder.name == "202611210200"
    first.folder.mkdir()
    later = NOW.replace(day=22)
    assert pool_campaign(tmp_path, "e", now=later) == first
    assert pool_campaign(tmp_path, "e", now=later, new=True).folder.name == "202611220200"
    assert open_campaign(tmp_path, "e") == first, "a run of one's own goes on in the latest"
