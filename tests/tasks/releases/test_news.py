"""Which releases are announced, and how often."""

from pathlib import Path

from tasks.releases.index import Release
from tasks.releases.news import Watched, eligible, news, read_watched, with_known, write_watched


def found(*versions: str) -> list[Release]:
    return [Release("engine", version) for version in versions]


def seen(*versions: str) -> Watched:
    return Watched("e", frozenset(versions))


def announced(watched: Watched | None, *versions: str, prereleases: bool = False) -> list[tuple[str, str]]:
    told = news("e", found(*versions), watched, prereleases=prereleases)
    return [(one.release.version, one.previous) for one in told]


def test_nothing_of_the_past_is_announced_on_the_first_start() -> None:
    assert announced(None, "1.0", "2.0") == []


def test_a_new_release_is_announced_with_the_one_before_it() -> None:
    assert announced(seen("1.9", "1.10"), "1.9", "1.10", "1.11") == [("1.11", "1.10")]


def test_two_new_releases_are_announced_old_to_new() -> None:
    assert announced(seen("1.0"), "1.2", "1.1", "1.0") == [("1.1", "1.0"), ("1.2", "1.1")]


def test_ten_comes_after_nine() -> None:
    assert announced(seen("0.9"), "0.9", "0.10") == [("0.10", "0.9")]


def test_a_fix_of_an_old_line_is_not_announced() -> None:
    assert announced(seen("1.2", "2.0"), "1.2", "2.0", "1.3") == []


def test_pre_releases_are_announced_on_request_only() -> None:
    assert announced(seen("1.0"), "1.0", "1.1rc1") == []
    assert announced(seen("1.0"), "1.0", "1.1rc1", prereleases=True) == [("1.1rc1", "1.0")]


def test_a_release_after_its_own_candidate_is_news() -> None:
    assert announced(seen("1.0", "1.1rc1"), "1.0", "1.1rc1", "1.1") == [("1.1", "1.1rc1")]


def test_what_is_yanked_is_not_eligible() -> None:
    assert eligible([Release("engine", "1.0", yanked=True), Release("engine", "0.9")], prereleases=False) == found(
        "0.9"
    )


def test_what_vanishes_and_comes_back_is_no_news() -> None:
    watched = with_known(with_known(None, "e", found("1.0", "1.1")), "e", found("1.0"))
    assert announced(watched, "1.0", "1.1") == []


def test_an_event_has_one_id_whenever_and_wherever_it_is_told() -> None:
    first, again = (news("e", found("1.0", "1.1"), seen("1.0"))[0].event_id for _ in range(2))
    other = news("e", found("1.0", "1.2"), seen("1.0"))[0].event_id
    assert first == again
    assert first != other


def test_a_crash_between_telling_and_writing_tells_again(tmp_path: Path) -> None:
    file = tmp_path / "releases.json"
    write_watched(file, {"e": seen("1.0")})
    for _ in range(2):  # the first one dies before it writes
        told = news("e", found("1.0", "1.1"), read_watched(file)["e"])
        assert [one.release.version for one in told] == ["1.1"]
    write_watched(file, {"e": with_known(read_watched(file)["e"], "e", [one.release for one in told])})
    assert news("e", found("1.0", "1.1"), read_watched(file)["e"]) == []


def test_nothing_watched_yet_is_no_error(tmp_path: Path) -> None:
    assert read_watched(tmp_path / "releases.json") == {}
