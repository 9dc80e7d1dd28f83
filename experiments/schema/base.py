"""The base of everything that a person writes, and the identity of content."""

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

METHOD_VERSION = "2"
"""Stored with each trial and part of each cell's id; a changed definition of a figure changes it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A name that a person chooses: it becomes part of file names and MLflow tags."""


class Spec(BaseModel):
    """Frozen; an unknown key is an error; numbers are not made from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def content_id(*parts: object) -> str:
    """The first 12 hex digits of the SHA-256 of canonical JSON: equal content, equal id, on every machine."""
    return id_of_texts(*map(canonical, parts))


def canonical(part: object) -> str:
    """Equal content, equal text."""
    return json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def id_of_texts(*texts: str) -> str:
    """The content_id of parts whose canonical texts these are: for many that share some."""
    return hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()[:12]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no canonical form")
