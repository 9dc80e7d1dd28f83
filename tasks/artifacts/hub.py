"""A model or dataset from a hub: its revision resolved to a commit first, then the files that are needed, each checked.

Files are fetched one after the other into a folder that outlives a kill, and resume where they were cut: since version
2 huggingface-hub itself throws away what it has of a file when its process ends, so its `http_get` is called here with
the bytes that are there. Endpoint, offline mode, proxies and the token are huggingface-hub's own; the token is put into
a header by it, and goes nowhere else.
"""

import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import urlsplit

from experiments.errors import DownloadError
from experiments.schema.failure import FailureClass
from experiments.schema.model import HubSource
from experiments.schema.prompts import HubDataset
from tasks.artifacts.dataset_files import chosen_files
from tasks.artifacts.manifest import Artifact, sha256_of
from tasks.artifacts.model_files import lacking, lacking_shards, needed_files
from tasks.artifacts.remembered import recall, remember
from tasks.artifacts.store import FULL, ArtifactStore, size_text

logger = logging.getLogger("dyno.artifacts")

LAYOUT_VERSION = 1
"""Of which files are taken; a changed choice makes other artifacts."""

COMMIT = re.compile(r"^[0-9a-f]{40}$")
SEEN = ".hub-commits.json"
TIMEOUT_S = 30.0
PROGRESS_EVERY_S = 2.0

PLAIN_HTTP_BYTES = 50 * 10**9
"""The hub gives larger files through its own protocol only, which resumes by itself."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """As the hub lists it: large files by SHA-256, small ones by the SHA-1 of git's blob."""

    name: str
    size: int
    sha256: str
    git_sha1: str


def fetch_hub(source: HubSource, store: ArtifactStore, *, progress: Progress, live: Progress | None = None) -> Artifact:
    """Raises DownloadError that says what to do: accept a licence, set HF_TOKEN, check the name, go online.

    `live` is told how much there is, over and over; without it `progress` is.
    """
    commit = _commit_of(source, store.root / SEEN, progress)
    made_from = {"repo": source.repo, "commit": commit, "layout_version": LAYOUT_VERSION}
    return _fetched(
        "hub", source, commit, made_from, store, lambda: _listed(source, commit), progress, live or progress
    )


def fetch_hub_dataset(
    source: HubDataset,
    store: ArtifactStore,
    *,
    file: str | None,
    split: str | None,
    progress: Progress,
    live: Progress | None = None,
) -> Artifact:
    """The data files of a dataset repository that `file` or `split` name, in its own folders. Raises DownloadError."""
    commit = _commit_of(source, store.root / SEEN, progress)
    made_from = {"dataset": source.repo, "commit": commit, "file": file or "", "split": split or ""}

    def listed() -> list[RemoteFile]:
        siblings = {sibling.rfilename: sibling for sibling in _repo_info(source, commit).siblings or []}
        chosen = chosen_files(siblings, file=file, split=split, where=f"{source.repo} at {commit[:12]}")
        return [_remote_file(siblings[name]) for name in chosen]

    return _fetched("dataset", source, commit, made_from, store, listed, progress, live or progress)


def _fetched(
    kind: str,
    source: HubSource,
    commit: str,
    made_from: Mapping[str, Any],
    store: ArtifactStore,
    listed: Callable[[], list[RemoteFile]],
    progress: Progress,
    live: Progress,
) -> Artifact:
    def make(folder: Path) -> Mapping[str, Any]:
        kept = store.download_folder(kind, made_from)
        files = listed()
        store.require_space(sum(file.size for file in files) - _bytes_in(kept))
        progress(f"{source.repo} at {commit[:12]}: {len(files)} files, {size_text(sum(f.size for f in files))}")
        with _watched(kept, sum(file.size for file in files), source.repo, live):
            for file in files:
                _fetch(source, commit, file, kept)
        _hand_over(files, kept, folder)
        return {"repo": source.repo, "revision": source.revision, "commit": commit}

    return store.get_or_make(kind, made_from, make, progress=progress)


def last_seen_commits(root: Path) -> dict[str, str]:
    """The commit of each `repo@revision` that was resolved for the store at `root`."""
    return recall(root / SEEN)


def _repo_type(source: HubSource) -> str:
    return "dataset" if isinstance(source, HubDataset) else "model"


def _commit_of(source: HubSource, remembered: Path, progress: Progress) -> str:
    """Offline, a branch or tag is what it was when it was last seen."""
    if COMMIT.match(source.revision):
        return source.revision
    name = f"{'datasets/' if isinstance(source, HubDataset) else ''}{source.repo}@{source.revision}"
    known = recall(remembered)
    if _hub().constants.HF_HUB_OFFLINE:
        cached = _cached(source) / "refs" / source.revision
        if name not in known and cached.is_file():
            return cached.read_text().strip()
        if name not in known:
            raise DownloadError(_offline_words(source), failure_class=FailureClass.WEIGHTS_MISSING)
        progress(f"{name}: offline, taken as the commit that it was last seen at, {known[name][:12]}")
        return known[name]
    commit = str(_repo_info(source, source.revision).sha)
    remember(remembered, {**known, name: commit})
    return commit


def _cached(source: HubSource) -> Path:
    """Where huggingface-hub's own cache has a repository, filled by another program of this person."""
    folder_name = import_module("huggingface_hub.file_download").repo_folder_name
    folder: str = folder_name(repo_id=source.repo, repo_type=_repo_type(source))
    return Path(_hub().constants.HF_HUB_CACHE) / folder


def _listed_offline(source: HubSource, snapshot: Path) -> list[RemoteFile]:
    """What that cache has of a commit; its blobs bear the hashes that the hub lists. Raises DownloadError where that is
    no whole model."""
    names = [path.name for path in snapshot.iterdir() if path.is_file()]
    lacks = lacking(names) + lacking_shards(snapshot)
    if lacks:
        raise DownloadError(
            f"{_offline_words(source)} The cache at {snapshot} has some of it, and lacks {'; '.join(lacks)}.",
            failure_class=FailureClass.WEIGHTS_MISSING,
        )
    return [_cached_file(snapshot / name) for name in needed_files(names)]


def _cached_file(path: Path) -> RemoteFile:
    blob = path.resolve().name
    is_sha256 = re.fullmatch(r"[0-9a-f]{64}", blob) is not None
    return RemoteFile(path.name, path.stat().st_size, blob if is_sha256 else "", "" if is_sha256 else blob)


def _listed(source: HubSource, commit: str) -> list[RemoteFile]:
    snapshot = _cached(source) / "snapshots" / commit
    if _hub().constants.HF_HUB_OFFLINE and snapshot.is_dir():
        return _listed_offline(source, snapshot)
    info = _repo_info(source, commit)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    lacks = lacking(name for name in siblings if "/" not in name)
    if lacks:
        raise DownloadError(
            f"{source.repo} at {commit[:12]} is no model in the Hugging Face layout: it lacks {'; '.join(lacks)}. "
            "Only safetensors weights are used: choose a repository that has them.",
            failure_class=FailureClass.WEIGHTS_MISSING,
        )
    return [_remote_file(siblings[name]) for name in needed_files(siblings)]


def _remote_file(sibling: Any) -> RemoteFile:
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    return RemoteFile(sibling.rfilename, int(sibling.size or 0), sha256, str(sibling.blob_id or ""))


def _repo_info(source: HubSource, revision: str) -> Any:
    hub = _hub()
    with _explained(source, revision):
        of_kind = {"repo_type": _repo_type(source), "files_metadata": True, "timeout": TIMEOUT_S}
        return hub.HfApi().repo_info(source.repo, revision=revision, **of_kind)


def _fetch(source: HubSource, commit: str, file: RemoteFile, kept: Path) -> None:
    """Leaves `file` in `kept`, whole and checked; what there is of it already is not fetched again."""
    whole = kept / file.name
    if whole.exists():
        return
    partial = kept / f"{file.name}.incomplete"
    partial.parent.mkdir(parents=True, exist_ok=True)
    with _explained(source, commit):
        if file.size > PLAIN_HTTP_BYTES:
            of_kind = {"repo_type": _repo_type(source), "revision": commit}
            _hub().hf_hub_download(source.repo, file.name, **of_kind, local_dir=kept / ".large")
            os.replace(kept / ".large" / file.name, partial)
        elif not _taken_from_cache(source, commit, file, partial):
            _get(source, commit, file, partial)
    if not _is_right(file, partial):
        partial.unlink()
        raise DownloadError(
            f"{source.repo}: {file.name} did not arrive as the hub lists it (its hash differs), and was thrown away. "
            "Start again; if it happens again, a proxy or mirror on the way changes files."
        )
    partial.rename(whole)


def _get(source: HubSource, commit: str, file: RemoteFile, partial: Path) -> None:
    from huggingface_hub.file_download import http_get

    have = partial.stat().st_size if partial.exists() else 0
    if have > file.size:
        partial.unlink()
        have = 0
    if have:
        logger.info("%s: %s resumes at %s of %s bytes", source.repo, file.name, have, file.size)
    url = _hub().hf_hub_url(source.repo, file.name, repo_type=_repo_type(source), revision=commit)
    # Bytes as they are: compressed ones could not be resumed.
    headers = {**_headers(), "Accept-Encoding": "identity"}
    with partial.open("ab") as opened:
        http_get(url, opened, resume_size=have, headers=headers, expected_size=file.size)


def _taken_from_cache(source: HubSource, commit: str, file: RemoteFile, partial: Path) -> bool:
    """From huggingface-hub's own cache, where another program of this person may have put the same commit."""
    cached = _hub().try_to_load_from_cache(source.repo, file.name, revision=commit, repo_type=_repo_type(source))
    if not isinstance(cached, str):
        return False
    partial.unlink(missing_ok=True)
    shutil.copyfile(cached, partial)
    return True


def _is_right(file: RemoteFile, path: Path) -> bool:
    size = path.stat().st_size
    if size != file.size:
        return False
    if file.sha256:
        return sha256_of(path) == file.sha256
    if not COMMIT.match(file.git_sha1):
        return True
    blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    blob.update(path.read_bytes())
    return blob.hexdigest() == file.git_sha1


def _hand_over(files: list[RemoteFile], kept: Path, folder: Path) -> None:
    """Linked, not moved: a kill before the artifact stands must not cost what was fetched."""
    for file in files:
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        os.link(kept / file.name, folder / file.name)
    missing = lacking_shards(folder)
    if missing:
        raise DownloadError(
            f"the repository's index names shards that it does not have: {', '.join(missing)}",
            failure_class=FailureClass.WEIGHTS_MISSING,
        )


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # renamed meanwhile
    return total


@contextmanager
def _watched(folder: Path, total: int, repo: str, live: Progress) -> Iterator[None]:
    """Says every other second how much is there: works for every way in which a file may come."""
    done = threading.Event()
    first, began = _bytes_in(folder), time.monotonic()

    def watch() -> None:
        while not done.wait(PROGRESS_EVERY_S):
            live(f"{repo}: {progress_text(_bytes_in(folder), total, first, time.monotonic() - began)}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def progress_text(have: int, total: int, first: int, seconds: float) -> str:
    """Of `total` bytes there are `have`; `first` were there when this download began, `seconds` ago."""
    rate = (have - first) / seconds
    text = f"{size_text(have)} of {size_text(total)}"
    if rate <= 0:
        return f"{text}, nothing arrives"
    left_s = max(total - have, 0) / rate
    left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
    return f"{text} ({100 * have / total:.0f} %), {rate / 1e6:.1f} MB/s, {left} left"


def _hub() -> ModuleType:
    """Imported when it is needed, with its progress bars and its account of this machine in each request off."""
    hub = import_module("huggingface_hub")
    vars(import_module("huggingface_hub.constants"))["HF_HUB_DISABLE_TELEMETRY"] = True
    import_module("huggingface_hub.utils").disable_progress_bars()
    return hub


def _headers() -> dict[str, str]:
    """With the token, from the places where huggingface-hub looks for it."""
    return dict(_hub().utils.build_hf_headers())


@contextmanager
def _explained(source: HubSource, revision: str) -> Iterator[None]:
    """Turns what huggingface-hub raises into a DownloadError; a full disk stays what it is."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its own base names the HTTP library that this version of huggingface-hub uses.
    http_error = cast(type[Exception], HfHubHTTPError.__mro__[1])
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        raise _told(source, revision, error) from error
    except (http_error, ValueError) as error:
        raise _told(source, revision, error) from error


def _told(source: HubSource, revision: str, error: Exception) -> DownloadError:
    return DownloadError(_advice(source, revision, error), failure_class=_class_of(error))


def _class_of(error: Exception) -> FailureClass:
    """A repository that is private and one that does not exist look the same from outside."""
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if isinstance(error, errors.GatedRepoError):
        return FailureClass.WEIGHTS_GATED
    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.OfflineModeIsEnabled)):
        return FailureClass.WEIGHTS_MISSING
    if status in (401, 403):
        return FailureClass.WEIGHTS_GATED
    return FailureClass.WEIGHTS_MISSING if status == 404 else FailureClass.NETWORK


def _advice(source: HubSource, revision: str, error: Exception) -> str:
    from huggingface_hub import errors

    page = f"{_endpoint()}/{'datasets/' if isinstance(source, HubDataset) else ''}{source.repo}"
    advice: dict[type[Exception], str] = {
        errors.GatedRepoError: f"{source.repo} is gated: accept its licence at {page}, then {_token_words()}.",
        errors.RevisionNotFoundError: f"{source.repo} has no revision {revision}: see its branches and tags at {page}.",
        errors.RepositoryNotFoundError: f"{page} does not exist, or is private. Check the name; if it is private, "
        f"{_token_words()}.",
        errors.OfflineModeIsEnabled: _offline_words(source),
    }
    for kind, words in advice.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, errors.HfHubHTTPError):
        return _status_words(source, error.response.status_code)
    said = f"{type(error).__name__}: {_without_secrets(str(error))}"
    return (
        f"{source.repo} could not be fetched from {_endpoint()}: {said}. "
        "Check the network, or set HF_ENDPOINT to a mirror. What arrived so far is kept: start again to go on."
    )


def _status_words(source: HubSource, status: int) -> str:
    if status in (401, 403):
        return f"{_endpoint()} refused access to {source.repo} ({status}): {_token_words()}."
    return f"{_endpoint()} answered {status} for {source.repo}. What arrived so far is kept: start again to go on."


def _token_words() -> str:
    if "authorization" in _headers():
        return "set HF_TOKEN to a token of an account that has access (the present one has none)"
    return "set HF_TOKEN to a token of an account that has access (none is set)"


def _offline_words(source: HubSource) -> str:
    return (
        f"{source.repo} at {source.revision} is not in the store, and HF_HUB_OFFLINE is set: unset it to download, or "
        "use a source of kind local."
    )


def _endpoint() -> str:
    """Without a user or password that HF_ENDPOINT may hold."""
    parts = urlsplit(str(_hub().constants.ENDPOINT))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _without_secrets(text: str) -> str:
    token = _headers().get("authorization", "").removeprefix("Bearer ")
    text = text.replace(token, "***") if token else text
    return re.sub(r"//[^/@\s]+@", "//", text).splitlines()[0] if text else "no reason given"
