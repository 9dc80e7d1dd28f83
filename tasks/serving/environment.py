"""Environments: a venv per engine release below the store, made by pip, with what it resolved to on record."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from experiments.errors import BuildError
from experiments.schema.base import content_id

READY = "environment.json"

_in_use: dict[Path, int] = {}
"""The environments that this process has used: an open descriptor by lock file."""

_one_thread = threading.Lock()


@dataclass(frozen=True, slots=True)
class Environment:
    """`packages` are the resolved (name, version, sha256) of all that pip installed; `seconds` what making it took,
    0 where it was there already."""

    python: Path
    packages: tuple[tuple[str, str, str], ...]
    seconds: float

    @property
    def site_packages(self) -> Path:
        """Where the packages lie."""
        return next((self.python.parents[1] / "lib").glob("python3*/site-packages"))

    def facts(self) -> dict[str, str]:
        """For the record."""
        return {"kind": "environment", "environment": self.python.parents[1].name}

    def version(self, package: str) -> str:
        """The resolved version of a package; "" where it is not in here."""
        return next((v for name, v, _ in self.packages if same_package(name, package)), "")

    def installed_version(self, package: str) -> str:
        """The version that lies there now; "" where there is none."""
        found = distributions(path=[str(self.site_packages)])
        return next((one.version for one in found if same_package(one.name, package)), "")


class StandInEnvironment(Environment):
    """A folder of programs in the place of an engine's, `python` among them; nothing is installed in it."""

    def facts(self) -> dict[str, str]:
        return {"kind": "stand_in", "stand_in": "true"}


def check_release(environment: Environment, package: str, asked: str) -> str:
    """The release that will be launched. Raises BuildError where it is not the one that was asked for and resolved:
    what is measured would bear another's name."""
    resolved, installed = environment.version(package), environment.installed_version(package)
    if not resolved or installed != resolved:
        raise BuildError(
            f"{package} {asked} was asked for, {resolved or 'nothing'} resolved, and {installed or 'nothing'} is "
            f"installed now. Remove {environment.python.parents[1]}, and it is made anew."
        )
    return installed


def engine_environment(
    root: Path, requirements: Sequence[str], say: Callable[[str], None], *, removed: Sequence[str] = ()
) -> Environment:
    """The environment for these requirements, without the packages in `removed`: made at most once, whatever the
    number of processes that ask for it.

    One that was half-made by a process that died is made anew. Raises BuildError with pip's own words.
    """
    root.mkdir(parents=True, exist_ok=True)
    content = [list(requirements), sys.version_info[:2], *([list(removed)] if removed else [])]
    folder = root / f"{_slug(requirements)}-{content_id(*content)}"
    lock = root / f"{folder.name}.lock"
    with _one_thread:
        while True:
            _use_until_exit(lock, lambda: say(f"another dyno is making the environment of {', '.join(requirements)}"))
            found = _read(folder)
            if found:
                return found
            with _alone(lock) as is_alone:
                if is_alone:
                    return _make(folder, requirements, removed, say)
            time.sleep(0.05)


def _use_until_exit(lock: Path, waiting: Callable[[], None]) -> None:
    """A shared lock on the file, kept until this process ends, so that nobody removes what is used; the file's
    modification time is that of the last use."""
    if lock not in _in_use or not (lock.exists() and os.path.samestat(os.fstat(_in_use[lock]), lock.stat())):
        _in_use[lock] = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(_in_use[lock], fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(_in_use[lock], fcntl.LOCK_SH)
    os.utime(_in_use[lock])


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Whether nobody else uses it or makes it. Without that, our shared lock is gone too: the kernel gives it back
    before it tries for more, and so of two who want to make the same thing one can."""
    try:
        fcntl.flock(_in_use[lock], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(_in_use[lock], fcntl.LOCK_SH)


def _slug(requirements: Sequence[str]) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", requirements[0])[:60]


def same_package(one: str, other: str) -> bool:
    """Whether two spellings name the same distribution."""
    return _normal(one) == _normal(other)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _read(folder: Path) -> Environment | None:
    try:
        body = json.loads((folder / READY).read_text())
        packages = tuple((name, version, digest) for name, version, digest in body["packages"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Environment(_python(folder), packages, 0.0) if _python(folder).exists() else None


def _make(folder: Path, requirements: Sequence[str], removed: Sequence[str], say: Callable[[str], None]) -> Environment:
    """A venv cannot be moved, so it is made in place: the record that is written last says that it is whole."""
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    say(f"installing {', '.join(requirements)} into an environment of its own")
    report = folder / "pip-report.json"
    try:
        _run([sys.executable, "-m", "venv", str(folder)], requirements)
        pip = [str(_python(folder)), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "install", "--quiet", "--report", str(report), *requirements], requirements)
        if removed:
            _run([*pip, "uninstall", "--quiet", "--yes", *removed], requirements)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = {_normal(name) for name in removed}
    packages = tuple(package for package in _resolved(report) if _normal(package[0]) not in gone)
    aside = folder / f"{READY}.partial"
    aside.write_text(json.dumps({"requirements": list(requirements), "packages": packages}, indent=1))
    aside.rename(folder / READY)
    return Environment(_python(folder), packages, time.monotonic() - started)


def _run(command: Sequence[str], requirements: Sequence[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        cause = next((line for line in reversed(words) if "ERROR" in line), words[-1] if words else "no message")
        raise BuildError(
            f"the environment of {', '.join(requirements)} could not be made: {cause.removeprefix('ERROR: ')}. "
            "Is that a release that the package index has, and is the index within reach?",
            log_excerpt="\n".join(words[-15:]),
        )


def _resolved(report: Path) -> tuple[tuple[str, str, str], ...]:
    body = json.loads(report.read_text())
    found = []
    for item in body["install"]:
        hashes = item.get("download_info", {}).get("archive_info", {}).get("hashes", {})
        found.append((item["metadata"]["name"], item["metadata"]["version"], hashes.get("sha256", "")))
    # The report names download addresses, which may hold credentials of a private index.
    report.unlink()
    return tuple(sorted(found))
