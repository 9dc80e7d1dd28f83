"""Rounds of the watcher against an index on loopback (PEP 691). Nobody is asked outside."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import InputError
from experiments.schema.requests import WatchRequest
from flows import watch_releases
from flows.watch_releases import announce_by_hand, watch_round
from tasks.campaigns.home import Home
from tasks.releases.news import News
from tasks.releases.settings import IndexSettings

REQUEST = WatchRequest(engines=("llama_cpp",))


class Index(ThreadingHTTPServer):
    """Knows the package of llama.cpp, in the releases that a test gives it; without any it fails."""

    versions: tuple[str, ...] = ()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Index)
        if self.path != "/simple/xllamacpp/" or not self.server.versions:
            self.send_error(404)
            return
        names = [f"xllamacpp-{version}-py3-none-any.whl" for version in self.server.versions]
        files = [{"filename": name, "url": f"/files/{name}", "hashes": {}} for name in names]
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": "xllamacpp", "files": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = IndexSettings((f"http://127.0.0.1:{server.server_port}/simple",))
        monkeypatch.setattr(watch_releases, "pip_settings", lambda: settings)
        monkeypatch.setattr(watch_releases, "image_of", lambda engine, version: "")
        yield server
        server.shutdown()
        thread.join()


def round_of(home: Home, told: list[News] | None, request: WatchRequest = REQUEST) -> dict[str, Any]:
    def announce(one: News) -> bool:
        assert told is not None
        told.append(one)
        return True

    (row,) = watch_round(request, home, None if told is None else announce)
    return row


def test_the_past_is_never_announced_and_each_later_release_once(index: Index, tmp_path: Path) -> None:
    home, told = Home(tmp_path / "home"), list[News]()
    index.versions = ("1.0", "1.1")
    assert round_of(home, told)["first_look"]
    index.versions = ("1.0", "1.1", "1.2", "1.10", "2.0rc1")
    row = round_of(home, told)
    assert [(one.release.version, one.previous) for one in told] == [("1.2", "1.1"), ("1.10", "1.2")]
    assert (row["newest"], row["newest_known"]) == ("1.10", "1.1")
    assert round_of(home, told)["news"] == []
    assert len(told) == 2


def test_a_crash_between_the_telling_and_the_writing_tells_again_with_the_same_id(index: Index, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    index.versions = ("1.0",)
    round_of(home, [])
    index.versions = ("1.0", "1.1")

    ids = []

    def dies(one: News) -> bool:
        ids.append(one.event_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch_round(REQUEST, home, dies)
    told: list[News] = []
    round_of(home, told)
    assert [one.event_id for one in told] == ids


def test_without_anybody_to_tell_news_stays_news(index: Index, tmp_path: Path) -> None:
    home, told = Home(tmp_path / "home"), list[News]()
    index.versions = ("1.0",)
    round_of(home, None)
    index.versions = ("1.0", "1.1")
    assert [one["announced"] for one in round_of(home, None)["news"]] == [False]
    round_of(home, told)
    assert [one.release.version for one in told] == ["1.1"]


def test_pre_releases_are_news_where_they_are_asked_for(index: Index, tmp_path: Path) -> None:
    home, told = Home(tmp_path / "home"), list[News]()
    index.versions = ("1.0",)
    round_of(home, told)
    index.versions = ("1.0", "1.1rc1")
    round_of(home, told, REQUEST.model_copy(update={"prereleases": True}))
    assert [one.release.version for one in told] == ["1.1rc1"]


def test_an_index_that_fails_is_said_and_forgets_nothing(index: Index, tmp_path: Path) -> None:
    home, told = Home(tmp_path / "home"), list[News]()
    index.versions = ("1.0",)
    round_of(home, told)
    index.versions = ()
    assert "xllamacpp" in round_of(home, told)["problem"]
    index.versions = ("1.0", "1.1")
    round_of(home, told)
    assert [one.release.version for one in told] == ["1.1"]


def told_by_hand(monkeypatch: pytest.MonkeyPatch) -> list[News]:
    told: list[News] = []

    def announced(one: News) -> bool:
        told.append(one)
        return True

    monkeypatch.setattr(watch_releases, "announced", announced)
    return told


def test_a_release_is_announced_by_hand_whether_it_is_news_or_not(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = told_by_hand(monkeypatch)
    index.versions = ("1.9", "1.10", "1.11rc1", "2.0")
    (row,) = announce_by_hand(["llama_cpp==1.10"])
    assert (row["engine"], row["version"], row["previous"], row["announced"]) == ("llama_cpp", "1.10", "1.9", True)
    assert [(one.engine, one.release.version) for one in told] == [("llama_cpp", "1.10")]


@pytest.mark.parametrize(
    ("word", "said"),
    [("llama_cpp", "write ENGINE==VERSION"), ("llama_cpp==3", "no such release; the newest are 1.10, 2.0"),
     ("lama==3", "lama has no releases to watch")],
)  # fmt: skip
def test_of_several_none_is_announced_where_one_is_wrong(
    index: Index, monkeypatch: pytest.MonkeyPatch, word: str, said: str
) -> None:
    told = told_by_hand(monkeypatch)
    index.versions = ("1.10", "2.0")
    with pytest.raises(InputError, match=said):
        announce_by_hand(["llama_cpp==2.0", word])
    assert told == []
