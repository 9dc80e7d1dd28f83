"""Digests from a registry: a stand-in over HTTP on loopback, written from the OCI distribution specification (pull by
GET /v2/NAME/manifests/REFERENCE) and the token protocol that its challenge names. No real registry is asked here."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from experiments.errors import InputError, PullError
from tasks.serving.image_lock import LockedImage, locked_digest, read_lock, resolved, write_lock
from tasks.serving.image_reference import ImageReference
from tasks.serving.registry import digest_of_tag, tags_of

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


@dataclass
class StandInRegistry:
    """One repository, `team/engine`, with the tag `1.2`; `challenge` is what it asks for before it answers."""

    challenge: str = ""
    token: object = field(default_factory=lambda: {"token": "anonymous"})
    told_digest: str = DIGEST
    status: int = 200
    tags: list[str] = field(default_factory=lambda: ["1.0", "1.1", "1.2", "1.3", "latest"])
    port: int = 0
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def image(self) -> ImageReference:
        return ImageReference.parse(f"127.0.0.1:{self.port}/team/engine:1.2")


@contextlib.contextmanager
def running(registry: StandInRegistry) -> Iterator[StandInRegistry]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.seen.append((self.path, dict(self.headers)))
            path = urlsplit(self.path).path
            if path == "/token":
                self.answer(200, json.dumps(registry.token).encode(), {})
            elif registry.challenge and self.headers.get("Authorization") != "Bearer anonymous":
                self.answer(401, b"{}", {"WWW-Authenticate": registry.challenge.replace("PORT", str(registry.port))})
            elif path == "/v2/team/engine/tags/list":
                self.page(parse_qs(urlsplit(self.path).query).get("last", [""])[0])
            elif path != "/v2/team/engine/manifests/1.2":
                self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', {})
            else:
                self.answer(registry.status, MANIFEST, {"Docker-Content-Digest": registry.told_digest})

        def page(self, last: str) -> None:
            """Two of the tags, and a link to those behind them."""
            after = registry.tags.index(last) + 1 if last else 0
            body = {"name": "team/engine", "tags": registry.tags[after : after + 2]}
            is_last = after + 2 >= len(registry.tags)
            more = f'</v2/team/engine/tags/list?last={body["tags"][-1]}&n=2>; rel="next"'
            link = {} if is_last else {"Link": more}
            self.answer(registry.status, json.dumps(body).encode(), link)

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()


BEARER = 'Bearer realm="http://127.0.0.1:PORT/token",service="stand-in",scope="repository:team/engine:pull"'


def test_a_tag_is_what_its_manifest_hashes_to() -> None:
    with running(StandInRegistry()) as registry:
        assert digest_of_tag(registry.image) == DIGEST
    ((path, headers),) = registry.seen
    assert path == "/v2/team/engine/manifests/1.2"
    accepted = [kind.strip() for kind in headers["Accept"].split(",")]
    assert "application/vnd.oci.image.index.v1+json" in accepted
    assert "application/vnd.docker.distribution.manifest.list.v2+json" in accepted


@pytest.mark.parametrize("token", [{"token": "anonymous"}, {"access_token": "anonymous"}])
def test_a_registry_that_wants_a_token_is_asked_with_one(token: object) -> None:
    with running(StandInRegistry(challenge=BEARER, token=token)) as registry:
        assert digest_of_tag(registry.image) == DIGEST
    asked = parse_qs(urlsplit(registry.seen[1][0]).query)
    assert asked == {"service": ["stand-in"], "scope": ["repository:team/engine:pull"]}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"challenge": 'Basic realm="x"'}, "asks for a login"),
        ({"challenge": 'Bearer realm="ftp://127.0.0.1/token"'}, "asks for a login"),
        ({"challenge": BEARER, "token": {}}, "gives no token"),
        ({"challenge": BEARER, "token": {"token": "another"}}, "asks for a login"),
        ({"told_digest": f"sha256:{'0' * 64}"}, "says that .* is sha256:0000"),
        ({"status": 429}, "has had too many requests"),
        ({"status": 500}, r"does not say: .* \(http 500\)"),
    ],
)
def test_what_a_registry_does_not_give_is_said(how: dict[str, object], says: str) -> None:
    with (
        running(StandInRegistry(**how)) as registry,  # type: ignore[arg-type]
        pytest.raises(PullError, match=says),
    ):
        digest_of_tag(registry.image)


def test_a_registry_without_the_header_is_believed_by_its_content() -> None:
    with running(StandInRegistry(told_digest="")) as registry:
        assert digest_of_tag(registry.image) == DIGEST


def test_a_tag_that_is_not_there_and_a_registry_that_is_not() -> None:
    with running(StandInRegistry()) as registry, pytest.raises(PullError, match="has no such tag"):
        digest_of_tag(ImageReference.parse(f"127.0.0.1:{registry.port}/team/engine:9"))
    with pytest.raises(PullError, match="is out of reach"):
        digest_of_tag(registry.image, timeout_s=2.0)


def test_a_lock_is_resolved_tag_by_tag_and_keeps_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "images.lock"
    with running(StandInRegistry()) as registry:
        gone = f"127.0.0.1:{registry.port}/team/engine:gone"
        known = f"sha256:{'1' * 64}"
        before = (
            LockedImage("engine", "1.2", str(registry.image), None, "not resolved here"),
            LockedImage("engine", "gone", gone, known),
        )
        write_lock(resolved(before, digest_of_tag), path)
    first, second = read_lock(path)
    assert (first.digest, first.reason) == (DIGEST, "")
    assert second.digest == known
    assert "has no such tag" in second.reason
    assert locked_digest(registry.image, path) == DIGEST
    assert locked_digest(ImageReference.parse(gone), path) == known
    assert locked_digest(ImageReference.parse("team/engine:1.2"), path) == ""
    assert locked_digest(registry.image, tmp_path / "none") == ""


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2, "images": []}', '{"format": 1, "images": [{"engine": "x"}]}']
)
def test_a_damaged_lock_is_never_guessed_around(text: str, tmp_path: Path) -> None:
    (tmp_path / "images.lock").write_text(text)
    with pytest.raises(InputError, match="not a lock of images"):
        read_lock(tmp_path / "images.lock")


def test_every_page_of_tags_is_read_with_the_token_that_the_registry_asks_for() -> None:
    challenge = 'Bearer realm="http://127.0.0.1:PORT/token",service="registry"'
    with running(StandInRegistry(challenge=challenge)) as registry:
        assert tags_of(registry.image) == ["1.0", "1.1", "1.2", "1.3", "latest"]


def test_a_registry_that_does_not_list_its_tags_or_is_away_is_said() -> None:
    with running(StandInRegistry(status=403)) as registry, pytest.raises(PullError, match=r"list the tags .*403"):
        tags_of(registry.image)
    with pytest.raises(PullError, match="out of reach"):
        tags_of(ImageReference.parse("127.0.0.1:9/team/engine"))
