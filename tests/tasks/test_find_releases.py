"""Where an engine's releases are learned from."""

import pytest

from experiments.errors import InputError
from tasks.find_releases import releases_of, versions_among, watched_engines
from tasks.releases.settings import IndexSettings


def test_tags_that_are_versions_are_ordered_as_versions_and_variants_of_one_are_left() -> None:
    tags = ["latest", "3.10.0", "v3.9.1", "3.3.7-rocm", "sha-1234567", "3.3.7", "20260101", "3.4.0rc1", "main"]
    assert versions_among(tags) == ["3.3.7", "3.4.0rc1", "3.9.1", "3.10.0"]


def test_an_engine_that_nobody_releases_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"endpoint has no releases to watch; these have: llama_cpp"):
        releases_of("endpoint", IndexSettings(("http://127.0.0.1:9/simple",)))


def test_engines_of_a_package_and_of_an_image_alone_are_watched() -> None:
    assert {"llama_cpp", "vllm", "sglang", "tgi"} <= set(watched_engines())
