"""The name of a container image, taken apart: registry, repository, tag, digest."""

import re
from dataclasses import dataclass, replace
from typing import Self

from experiments.errors import InputError

HUB = "docker.io"
_REFERENCE = re.compile(
    r"(?:(?P<registry>localhost(?=/)|localhost:\d+|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?|[A-Za-z0-9-]+:\d+)/)?"
    r"(?P<repository>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where both are given, the digest is what counts, and the tag is for people. Written out it is fully qualified:
    podman takes `docker.io/vllm/vllm-openai` where it would refuse to guess a registry, and docker takes it too."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InputError where it is no reference."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no image: it reads REGISTRY/REPOSITORY:TAG or …@sha256:64 hex digits")
        registry, repository = found["registry"] or HUB, found["repository"]
        if registry == HUB and "/" not in repository:
            repository = f"library/{repository}"
        digest = found["digest"] or ""
        return cls(registry, repository, found["tag"] or ("" if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    def pinned(self, digest: str) -> Self:
        """The same image by its content."""
        return replace(self, digest=digest)
