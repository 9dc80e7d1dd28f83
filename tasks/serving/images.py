"""The image of an engine's release on this machine: had, by its digest, with what is installed in it."""

import contextlib
import json
import subprocess
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from experiments.errors import LaunchError, PullError, WrongVersion
from tasks.serving.container import ContainerCLI, ContainerRun, run_argv
from tasks.serving.container_cli import default_limits, inspected
from tasks.serving.environment import same_package
from tasks.serving.image_lock import locked_digest
from tasks.serving.image_reference import ImageReference
from tasks.serving.lease import Container

PROBE = (
    "import importlib.metadata as m, json;"
    "print(json.dumps(sorted({(d.metadata['Name'], d.version) for d in m.distributions() if d.metadata['Name']})))"
)
PROBE_S = 300.0
"""The first container of a big image waits for its layers."""


@dataclass(frozen=True, slots=True)
class EngineImage:
    """What a container is started from. `pinned` names its content: by digest, or by the image's id where it was built
    here and no registry gave it one. `packages` are its Python's (name, version); empty where it has no python3."""

    cli: ContainerCLI
    asked: str
    pinned: str
    digest: str
    image_id: str
    packages: tuple[tuple[str, str], ...] = ()

    def version(self, package: str) -> str:
        """The version of a package in it; "" where that is not in it."""
        return next((version for name, version in self.packages if same_package(name, package)), "")

    def facts(self) -> dict[str, str]:
        """For the record."""
        program = f"{self.cli.flavour} {self.cli.version}"
        return {"kind": "container", "cli": program, "image": self.asked, "digest": self.digest, "id": self.image_id}


def engine_image(cli: ContainerCLI, asked: str, say: Callable[[str], None]) -> EngineImage:
    """By the digest that it bears, else the one in docker/images.lock, else that of the tag as it is here, else as its
    registry has it now. Raises PullError where it cannot be had."""
    reference = ImageReference.parse(asked)
    if not reference.digest and (digest := locked_digest(reference)):
        reference = reference.pinned(digest)
    facts = _inspected(cli, reference)
    if facts is None:
        say(f"pulling {reference}")
        _pull(cli, reference, say)
        facts = _inspected(cli, reference)
    if facts is None:
        raise PullError(f"{reference} was pulled, and {cli.path} does not have it")
    pinned, digest = _pinned(reference, facts)
    return EngineImage(cli, asked, pinned, digest, str(facts["Id"]), _packages(cli, pinned))


def check_image_release(image: EngineImage, package: str, asked: str) -> None:
    """Raises WrongVersion where the engine in the image is another release. A build's local part is no other release;
    where the image does not tell, the running server is asked."""
    found = image.version(package) if package else ""
    if found and found.partition("+")[0] != asked.partition("+")[0]:
        raise WrongVersion(f"{image.asked} holds {package} {found}, and {asked} was asked for")


def _inspected(cli: ContainerCLI, reference: ImageReference) -> dict[str, Any] | None:
    try:
        return inspected(cli, "image", str(reference))[0]
    except (LaunchError, ValueError, IndexError):
        return None


def _pinned(reference: ImageReference, facts: dict[str, Any]) -> tuple[str, str]:
    """What to start it by, and its digest. Of several repositories' digests, the one of the repository that was asked
    for: another's cannot be pulled under this name."""
    if reference.digest:
        return str(reference), reference.digest
    for text in facts.get("RepoDigests") or ():
        found = ImageReference.parse(text)
        if found.name == reference.name:
            return str(found), found.digest
    return str(facts["Id"]), ""


def _pull(cli: ContainerCLI, reference: ImageReference, say: Callable[[str], None]) -> None:
    with subprocess.Popen(
        [cli.path, "pull", str(reference)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pulling:
        try:
            last = deque(_said(pulling.stdout or (), say), maxlen=15)
        except BaseException:
            pulling.kill()
            raise
    if pulling.returncode:
        raise PullError(
            f"{reference} could not be had: {last[-1].removeprefix('Error: ') if last else 'no message'}. Is that a "
            "tag that the registry has, is it within reach, and are you logged in where it asks for that?",
            log_excerpt="\n".join(last),
        )


def _said(lines: Iterable[str], say: Callable[[str], None]) -> Iterable[str]:
    for line in map(str.strip, lines):
        if line:
            say(line)
            yield line


def _packages(cli: ContainerCLI, pinned: str) -> tuple[tuple[str, str], ...]:
    """Asked of the image's own Python, without network. An image without one holds no Python packages."""
    container = Container(cli.path, f"dyno-probe-{uuid.uuid4().hex[:12]}")
    run = ContainerRun(
        pinned, container.name, ("-c", PROBE), entrypoint="python3", network="none", limits=default_limits()
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError, OSError):
            done = subprocess.run(
                run_argv(cli, run),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PROBE_S,
                check=True,
            )
            return tuple((name, version) for name, version in json.loads(done.stdout))
    except subprocess.CalledProcessError as error:
        if error.returncode == 125:  # the client's own failure: no container of this image would start
            words = [line for line in error.stderr.splitlines() if line.strip()]
            raise LaunchError(
                f"no container starts from {pinned}: {words[-1] if words else 'no message'}",
                log_excerpt="\n".join(words[-15:]),
            ) from error
    finally:
        container.remove()
    return ()
