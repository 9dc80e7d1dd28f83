"""Releases on an index that is served on loopback, in the JSON form of PEP 691, and in a folder of files."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import SetupError
from tasks.releases.index import Release, releases
from tasks.releases.settings import IndexSettings

FILES: list[dict[str, Any]] = [
    {"filename": "engine-1.10.0-py3-none-any.whl", "upload-time": "2026-03-01T00:00:00Z"},
    {"filename": "engine-1.9.0-py3-none-any.whl", "upload-time": "2026-02-01T00:00:00Z"},
    {"filename": "engine-1.9.0.tar.gz", "upload-time": "2026-02-02T00:00:00Z"},
    {"filename": "engine-1.11.0rc1-cp39-cp39-win_amd64.whl"},
    {"filename": "engine-1.8.0-py3-none-any.whl", "yanked": "broken wheels"},
    {"filename": "engine-1.7.0-py3-none-any.whl", "yanked": True},
    {"filename": "engine-1.7.0.tar.gz"},
]


class Index(BaseHTTPRequestHandler):
    """Knows one package."""

    def do_GET(self) -> None:
        if self.path != "/simple/engine/":
            self.send_error(404)
            return
        files = [{"url": f"/files/{file['filename']}", "hashes": {}, **file} for file in FILES]
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": "engine", "files": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def settings() -> Iterator[IndexSettings]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield IndexSettings((f"http://127.0.0.1:{server.server_port}/simple",))
    server.shutdown()
    thread.join()
    server.server_close()


def test_releases_come_old_to_new_by_pep_440_and_for_every_platform(settings: IndexSettings) -> None:
    assert [one.version for one in releases("engine", settings)] == ["1.7.0", "1.8.0", "1.9.0", "1.10.0", "1.11.0rc1"]


def test_a_release_is_yanked_when_all_its_files_are(settings: IndexSettings) -> None:
    assert [one.version for one in releases("engine", settings) if one.yanked] == ["1.8.0"]


def test_a_release_is_as_old_as_its_first_file(settings: IndexSettings) -> None:
    by_version = {one.version: one.uploaded_at for one in releases("engine", settings)}
    assert by_version["1.9.0"].startswith("2026-02-01")
    assert by_version["1.11.0rc1"] == ""


def test_an_unknown_package_is_an_error_that_names_it(settings: IndexSettings) -> None:
    with pytest.raises(SetupError, match="knows no motor"):
        releases("motor", settings)


def test_a_folder_of_files_is_an_index_too(tmp_path: Path) -> None:
    (tmp_path / "engine-2.0-py3-none-any.whl").touch()
    assert releases("engine", IndexSettings((), (str(tmp_path),))) == (Release("engine", "2.0"),)
