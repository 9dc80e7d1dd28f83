"""A small hub on loopback: as much of the protocol as huggingface-hub speaks for a model, or for a dataset, whose
repositories are named datasets/ORG/NAME here.

    GET  /api/models/{repo}/revision/{revision}?blobs=true   the commit, and each file with its size and hash
    GET  /{repo}/resolve/{commit}/{file}                     the file, or for a large one a redirect to the other host
    GET  /cdn/{sha256}                                       large files, under the name `localhost`

Run as a program it prints its address; it keeps an account of every request at /asked, without their values of secrets:
only whether an Authorization header was there and right.
"""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "5e1f" * 10
TOKEN = "hf_thisTokenMustNeverBeSeenAnywhere"


@dataclass
class Asked:
    """One request, as the server saw it."""

    path: str
    range: str
    authorized: bool
    user_agent: str


@dataclass
class HubRepository:
    """`access` is open, gated, private or wrong_token (every token is refused)."""

    files: Mapping[str, bytes]
    large: frozenset[str] = frozenset()
    access: str = "open"
    listed_sizes: Mapping[str, int] = field(default_factory=dict)
    cut_once_at: dict[str, int] = field(default_factory=dict)
    stall_once_at: dict[str, int] = field(default_factory=dict)
    sent_instead: Mapping[str, bytes] = field(default_factory=dict)
    ignores_ranges: bool = False


class Hub(ThreadingHTTPServer):
    """Serves `repositories` by name; `asked` grows."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, HubRepository]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.asked: list[Asked] = []
        self.stalled = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.cdn = f"http://localhost:{self.server_address[1]}"

    def asked_for(self, name: str) -> list[Asked]:
        """Requests for the bytes of a file, at the hub or where it redirects to."""
        places = {f"/resolve/{COMMIT}/{name}"}
        for repository in self.repositories.values():
            if name in repository.files:
                places.add(f"/cdn/{hashlib.sha256(repository.files[name]).hexdigest()}")
        return [asked for asked in self.asked if any(asked.path.endswith(place) for place in places)]


class Handler(BaseHTTPRequestHandler):
    """The protocol."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        authorization = self.headers.get("Authorization", "")
        self.server.asked.append(
            Asked(path, self.headers.get("Range", ""), authorization == f"Bearer {TOKEN}", self.headers["User-Agent"])
        )
        if path.startswith("/cdn/"):
            self._cdn(path.removeprefix("/cdn/"))
            return
        kind = "datasets/" if path.startswith(("/api/datasets/", "/datasets/")) else ""
        path = path.replace("/api/datasets/", "/api/models/").removeprefix("/datasets")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repository = self.server.repositories.get(kind + "/".join(parts[:2]))
        if repository is None:
            self._refuse(404 if authorization else 401, "RepoNotFound")
        elif path.startswith("/api/models/"):
            self._info("/".join(parts[:2]), repository, parts[3])
        else:
            self._resolve(repository, "/".join(parts[4:]))

    def _info(self, name: str, repository: HubRepository, revision: str) -> None:
        if repository.access == "private" and not self._authorized():
            self._refuse(401, "RepoNotFound")
        elif repository.access == "wrong_token" and "Authorization" in self.headers:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            siblings = [self._sibling(file, content, repository) for file, content in repository.files.items()]
            body = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
            self._send(200, body.encode(), {"Content-Type": "application/json"})

    def _sibling(self, name: str, content: bytes, repository: HubRepository) -> dict[str, Any]:
        size = repository.listed_sizes.get(name, len(content))
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        sibling: dict[str, Any] = {"rfilename": name, "size": size, "blobId": blob}
        if name in repository.large:
            sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
        return sibling

    def _resolve(self, repository: HubRepository, name: str) -> None:
        if repository.access == "gated" and not self._authorized():
            self._refuse(403, "GatedRepo")
            return
        content = repository.files.get(name)
        if content is None:
            self._refuse(404, "EntryNotFound")
        elif name in repository.large:
            digest = hashlib.sha256(content).hexdigest()
            headers = {"Location": f"{self.server.cdn}/cdn/{digest}", "X-Linked-Etag": f'"{digest}"'}
            self._send(302, b"", {**headers, "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT})
        else:
            self._content(repository, name, content)

    def _cdn(self, digest: str) -> None:
        for repository in self.server.repositories.values():
            for name, content in repository.files.items():
                if hashlib.sha256(content).hexdigest() == digest:
                    self._content(repository, name, content)
                    return
        self._refuse(404, "")

    def _content(self, repository: HubRepository, name: str, content: bytes) -> None:
        content = repository.sent_instead.get(name, content)
        wanted = self.headers.get("Range", "")
        first = 0 if repository.ignores_ranges or not wanted else int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if first else 200)
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        headers["Content-Length"] = str(len(content) - first)
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._end(headers)
        self._body(repository, name, content[first:])

    def _body(self, repository: HubRepository, name: str, content: bytes) -> None:
        cut = repository.cut_once_at.pop(name, None)
        stall = repository.stall_once_at.pop(name, None)
        self.wfile.write(content[: cut or stall])
        if stall is not None:
            self.wfile.flush()
            self.server.stalled.set()
            time.sleep(60)
        if cut is not None or stall is not None:
            self.close_connection = True

    def _authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _refuse(self, status: int, code: str, message: str = "no") -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self._end({**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _end(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what a test wants to say."""
