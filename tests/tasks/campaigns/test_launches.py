"""The ledger of launches knows this boot from others, and a line that was cut short from a launch."""

from pathlib import Path

from tasks.campaigns.launches import Launches


def test_a_launch_counts_on_its_own_boot_only(tmp_path: Path) -> None:
    file = tmp_path / "store" / "launches.jsonl"
    Launches(file, "boot-1").add("v", "2026-01-01")
    assert Launches(file, "boot-1").had("v")
    assert not Launches(file, "boot-1").had("w")
    assert not Launches(file, "boot-2").had("v")


def test_a_launch_in_a_fresh_folder_of_caches_left_nothing_for_the_next(tmp_path: Path) -> None:
    launches = Launches(tmp_path / "launches.jsonl", "boot")
    launches.add("v", "2026-01-01", keeps_caches=False)
    assert launches.had("v")
    assert not launches.had("v", that_kept_caches=True)
    launches.add("v", "2026-01-01")
    assert launches.had("v", that_kept_caches=True)


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    launches = Launches(tmp_path / "launches.jsonl", "boot")
    launches.add("v", "2026-01-01")
    with launches.file.open("a") as file:
        file.write('{"boot_id": "bo')
    assert launches.had("v")
    assert not launches.had("bo")
