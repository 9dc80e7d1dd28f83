"""The machine's index settings, as pip reads them: a watcher that asks elsewhere than pip would see other releases."""

import ast
import subprocess
import sys
from dataclasses import dataclass, field

from experiments.errors import SetupError

_SECTIONS = ("global", "index", ":env:")
"""In rising precedence; an option of `pip index` alone, or of the environment, goes before the one of all commands."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where packages are looked for. Addresses may hold a password: the repr leaves them out."""

    index_urls: tuple[str, ...] = field(repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    trusted_hosts: tuple[str, ...] = ()
    certificates: str = ""


def pip_settings() -> IndexSettings:
    """Read from pip itself: its files, its environment variables, its default. Raises SetupError without pip."""
    return settings_from(_pip("-m", "pip", "config", "list"), default_index=_default_index())


def settings_from(listed: str, *, default_index: str) -> IndexSettings:
    """From what `pip config list` prints: a line each, SECTION.OPTION='VALUE'."""
    options = _options(listed)
    index = [] if "no-index" in options else options.get("index-url", "").split() or [default_index]
    extra = [] if "no-index" in options else options.get("extra-index-url", "").split()
    return IndexSettings(
        index_urls=tuple(index + extra),
        find_links=tuple(options.get("find-links", "").split()),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        certificates=options.get("cert", ""),
    )


def _options(listed: str) -> dict[str, str]:
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines() if "=" in line]
    for wanted in _SECTIONS:
        for key, _, value in lines:
            section, _, option = key.rpartition(".")
            if section == wanted:
                found[option] = str(ast.literal_eval(value))
    return {option: value for option, value in found.items() if value not in ("", "0", "false", "no")}


def _default_index() -> str:
    """Only pip knows it; a copy of the address here would be a second truth."""
    return _pip("-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)").strip()


def _pip(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(f"pip does not say where packages are looked for: {last}")
    return ran.stdout
