"""What the tests of serving share: podman with an image of this machine's own files."""

from collections.abc import Iterator

import pytest

from tasks.serving.container_cli import find_cli
from tasks.serving.images import EngineImage, engine_image
from tests.tasks.serving import engine_image as made


@pytest.fixture(scope="session")
def image() -> Iterator[EngineImage]:
    """The stand-in engine's image; the test is skipped, with the reason, where podman starts no container."""
    reason = made.why_not()
    if reason:
        pytest.skip(reason)
    with made.podman_store(), pytest.MonkeyPatch.context() as patch:
        reason = made.why_none_runs()
        if reason:
            pytest.skip(reason)
        patch.setenv("DYNO_CONTAINER_CLI", "podman")
        yield engine_image(find_cli(), made.IMAGE, lambda _: None)
