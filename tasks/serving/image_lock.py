"""docker/images.lock: which content a tag of an engine's image stands for, so that a tag that moves changes nothing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from experiments.errors import DynoError, InputError
from tasks.serving.image_reference import ImageReference

LOCK = Path(__file__).parents[2] / "docker" / "images.lock"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class LockedImage:
    """`digest` is None where it is not known, and `reason` says why."""

    engine: str
    version: str
    reference: str
    digest: str | None
    reason: str = ""


def read_lock(path: Path = LOCK) -> tuple[LockedImage, ...]:
    """Raises InputError where the file is not what `write_lock` writes."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']} is not {FORMAT}")
        found = tuple(LockedImage(**entry) for entry in body["images"])
        for image in found:
            ImageReference.parse(f"{image.reference}@{image.digest}" if image.digest else image.reference)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a lock of images ({error}); `git checkout` it, or write it anew") from error
    return found


def write_lock(images: Sequence[LockedImage], path: Path = LOCK) -> None:
    """Aside, and renamed."""
    aside = path.with_name(f"{path.name}.partial")
    body = {"format": FORMAT, "images": [asdict(image) for image in images]}
    aside.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    aside.rename(path)


def locked_digest(reference: ImageReference, path: Path = LOCK) -> str:
    """ "" where the lock does not name that tag, or does not know its digest."""
    if not path.exists():
        return ""
    matches = (image for image in read_lock(path) if ImageReference.parse(image.reference) == reference)
    return next((image.digest for image in matches if image.digest), "")


def resolved(images: Sequence[LockedImage], digest_of: Callable[[ImageReference], str]) -> tuple[LockedImage, ...]:
    """Each with the digest that its tag has now; where the registry does not say, what was known stays known."""
    return tuple(_resolved(image, digest_of) for image in images)


def _resolved(image: LockedImage, digest_of: Callable[[ImageReference], str]) -> LockedImage:
    try:
        return replace(image, digest=digest_of(ImageReference.parse(image.reference)), reason="")
    except DynoError as error:
        return replace(image, reason=error.message)
