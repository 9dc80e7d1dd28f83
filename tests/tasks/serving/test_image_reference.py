"""Image names: taken apart, filled up, written out."""

import pytest

from experiments.errors import InputError
from tasks.serving.image_reference import ImageReference

HEX = "0" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "written"),
    [
        ("redis", "docker.io", "library/redis", "latest", "docker.io/library/redis:latest"),
        ("vllm/vllm-openai:v0.33.0", "docker.io", "vllm/vllm-openai", "v0.33.0", "docker.io/vllm/vllm-openai:v0.33.0"),
        ("nvcr.io/nvidia/a/b:1", "nvcr.io", "nvidia/a/b", "1", "nvcr.io/nvidia/a/b:1"),
        ("localhost/x:1", "localhost", "x", "1", "localhost/x:1"),
        ("localhost:5000/x", "localhost:5000", "x", "latest", "localhost:5000/x:latest"),
        ("myhost:5000/x:2", "myhost:5000", "x", "2", "myhost:5000/x:2"),
        (f"ghcr.io/a/b@sha256:{HEX}", "ghcr.io", "a/b", "", f"ghcr.io/a/b@sha256:{HEX}"),
        (f"ghcr.io/a/b:3@sha256:{HEX}", "ghcr.io", "a/b", "3", f"ghcr.io/a/b@sha256:{HEX}"),
    ],
)
def test_a_reference_is_fully_qualified(text: str, registry: str, repository: str, tag: str, written: str) -> None:
    found = ImageReference.parse(text)
    assert (found.registry, found.repository, found.tag, str(found)) == (registry, repository, tag, written)
    assert str(ImageReference.parse(written)) == written


@pytest.mark.parametrize(
    "text", ["", "UPPER/case:1", "a b", "x:", "x@sha256:12", "--privileged", "x:1 --privileged", "http://h/x:1", "a//b"]
)
def test_what_is_no_reference_never_reaches_a_command_line(text: str) -> None:
    with pytest.raises(InputError, match="is no image"):
        ImageReference.parse(text)
