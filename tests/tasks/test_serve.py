"""An engine's own word on its version, and the record of what was launched."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.errors import LaunchError
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks import serve as stage
from tasks.serving.server import Server


def attached(version: str) -> Variant:
    return Variant(
        engine="endpoint",
        engine_version=version,
        model=Model(name="m", source=SyntheticSource(kind="synthetic")),
        quantization=Quantization.BF16,
        hardware="h100-sxm",
        runtime="endpoint",
        endpoint_url="http://127.0.0.1:8000/v1",
    )


@contextlib.contextmanager
def served(variant: Variant, told: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """By a server that tells this version of itself."""
    server = Server("http://127.0.0.1:8000", "m", (), None, {"first_token_s": 0.5}, told)
    monkeypatch.setattr(stage, "attached_server", lambda *_, **__: server)
    with stage.serve(variant, loadable=None, log_file=Path("none"), leases=Path("none")) as found:
        yield found


@pytest.mark.parametrize(("asked", "told"), [("0.32.0", "0.32.0"), ("0.32.0", "0.32.0+cpu"), ("0.32.0", "")])
def test_what_the_engine_says_of_its_version_is_on_record(
    asked: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = attached(asked)
    with served(variant, told, monkeypatch) as server:
        facts = stage.launched(variant, server)
    assert facts.get("engine_says_version", "") == told
    assert facts["declared"] == {"engine_version": asked, "quantization": "bf16", "hardware": "h100-sxm"}
    assert facts["endpoint"] == "http://127.0.0.1:8000"


def test_an_engine_of_another_version_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"says that it is version 0\.33\.0, and 0\.32\.0 was asked for"
    with pytest.raises(LaunchError, match=said), served(attached("0.32.0"), "0.33.0", monkeypatch):
        pass
