"""Stage: which releases of an engine there are: on the package index, or as tags of its image's repository."""

from packaging.version import InvalidVersion, Version

from engine_adapters import ADAPTERS
from experiments.errors import DynoError, InputError
from tasks.releases.index import Release, releases
from tasks.releases.news import eligible, one_before
from tasks.releases.settings import IndexSettings
from tasks.serving.image_lock import read_lock
from tasks.serving.image_reference import ImageReference
from tasks.serving.registry import tags_of


def watched_engines() -> list[str]:
    """Engines whose releases can be found."""
    return [name for name, adapter in ADAPTERS.items() if adapter.release_package or image_repository(name)]


def image_repository(engine: str) -> ImageReference | None:
    """Where the images of an engine lie: that of the newest in docker/images.lock; None where it has none."""
    found = [image.reference for image in read_lock() if image.engine == engine]
    return ImageReference.parse(found[-1]) if found else None


def releases_of(engine: str, settings: IndexSettings) -> tuple[Release, ...]:
    """Old to new: those on the index, or, of an engine that comes as an image alone, the tags that are versions.
    Raises InputError for an engine that has neither, SetupError where who knows them cannot be reached."""
    adapter = ADAPTERS.get(engine)
    if adapter is None or engine not in watched_engines():
        raise InputError(f"{engine} has no releases to watch; these have: {', '.join(watched_engines())}")
    if adapter.release_package:
        return releases(adapter.release_package, settings)
    repository = image_repository(engine)
    tags = tags_of(repository) if repository is not None else []
    return tuple(Release(engine, tag) for tag in versions_among(tags))


def release_before(engine: str, version: str, settings: IndexSettings) -> str:
    """The release before a version, which need not be there itself; "" where there is none. Raises as releases_of."""
    try:
        limit = Version(version)
    except InvalidVersion:
        return ""
    return one_before(limit, eligible(releases_of(engine, settings), prereleases=False))


def image_of(engine: str, version: str) -> str:
    """Whether the image of a release is there yet: its tag, or why nobody knows; "" for an engine without images."""
    repository = image_repository(engine)
    if repository is None:
        return ""
    try:
        tags = tags_of(repository)
    except DynoError as error:
        return f"not known: {error.message}"
    found = [tag for tag in tags if tag in (version, f"v{version}")]
    return f"{repository.name}:{found[0]}" if found else f"none yet at {repository.name}"


def versions_among(tags: list[str]) -> list[str]:
    """Tags that are nothing but a version, `v` before it or not, old to new: `3.3.7-rocm` is a variant of one."""
    return [str(version) for version in sorted(set(filter(None, map(_version, tags))))]


def _version(tag: str) -> Version | None:
    try:
        found = Version(tag)
    except InvalidVersion:
        return None
    return None if found.local or len(found.release) < 2 else found
