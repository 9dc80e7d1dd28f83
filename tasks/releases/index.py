"""The package index, asked through unearth: it knows indexes, folders and files of links as pip does."""

import contextlib
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from packaging.version import InvalidVersion, Version
from unearth import PackageFinder
from unearth.evaluator import Package
from unearth.fetchers import PyPIClient

from experiments.errors import SetupError
from tasks.releases.settings import IndexSettings


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a package; `uploaded_at` is the date of its first file where the index tells one. Of a yanked
    release every file is withdrawn."""

    package: str
    version: str
    yanked: bool = False
    uploaded_at: str = ""

    @property
    def order(self) -> Version:
        """By PEP 440."""
        return Version(self.version)


def releases(package: str, settings: IndexSettings) -> tuple[Release, ...]:
    """Every release there is, old to new, for whatever platform its files are: workers may differ from this machine.

    Raises SetupError where the index cannot be read or does not know the package.
    """
    with _session(settings) as session:
        finder = PackageFinder(
            cast(Any, session),  # unearth's own client; its protocol is typed a little narrower
            index_urls=settings.index_urls,
            find_links=settings.find_links,
            trusted_hosts=settings.trusted_hosts,
            ignore_compatibility=True,
        )
        try:
            found = tuple(finder.find_all_packages(package, allow_yanked=True))
        except Exception as error:  # unearth hands on what its transport raises, of several libraries
            raise SetupError(f"the package index does not answer for {package}: {type(error).__name__}") from error
    if not found:
        raise SetupError(f"the package index knows no {package}: check its name and pip's index settings")
    return tuple(_releases(package, found))


def _releases(package: str, files: Iterable[Package]) -> Iterator[Release]:
    by_version: dict[Version, list[Package]] = {}
    for file in files:
        with contextlib.suppress(InvalidVersion):
            by_version.setdefault(Version(file.version or ""), []).append(file)
    for version in sorted(by_version):
        links = [file.link for file in by_version[version]]
        dates = [link.upload_time for link in links if isinstance(link.upload_time, datetime)]
        yanked = all(link.is_yanked for link in links)
        yield Release(package, str(version), yanked, min(dates).isoformat() if dates else "")


def _session(settings: IndexSettings) -> PyPIClient:
    file = settings.certificates
    verify = ssl.create_default_context(cafile=file) if file else True
    return PyPIClient(trusted_hosts=settings.trusted_hosts, timeout=30.0, verify=verify)
