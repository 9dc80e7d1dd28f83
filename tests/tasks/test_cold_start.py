"""Cold or warm is told from what the start found; a start on purpose is cold; the ledger keeps each."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec
from experiments.schema.cold_start import PHASES, ColdStart, ColdStartPlan
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.cold_start import (
    Before,
    before_start,
    cold_start,
    fresh_caches,
    keep_starts,
    kept_starts,
    start_cold,
    temperature,
)
from tasks.serve import Loadable
from tasks.serving.environment import Environment
from tasks.serving.page_cache import drop, resident_share
from tasks.serving.server import Server


@pytest.fixture
def compiling() -> Variant:
    """One whose engine keeps what it compiles."""
    model = Model(name="m", source=SyntheticSource(kind="synthetic"))
    return Variant(engine="vllm_cpu", engine_version="0.32.0", model=model, quantization=Quantization.BF16)


@pytest.fixture
def loadable(tmp_path: Path) -> Loadable:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(os.urandom(2**20))
    return Loadable(Environment(Path("python"), (), 0.0), weights)


@pytest.mark.parametrize(
    ("share", "launched", "compiled", "cold", "says"),
    [
        (0.0, False, False, True, "0% of its weights' pages were in memory; what its engine compiles was not there"),
        (0.0, True, None, True, "keeps nothing that it compiles"),
        (1.0, False, False, False, "100% of its weights' pages were in memory"),
        (0.0, True, True, False, "it was launched before on this boot"),
        (None, True, None, False, "the page cache cannot be asked, and it was launched before"),
        (None, False, None, True, "it was not launched before"),
    ],
)
def test_a_start_is_cold_where_nothing_of_an_earlier_one_helps(
    share: float | None, launched: bool, compiled: bool | None, cold: bool, says: str
) -> None:
    is_cold, how_known = temperature(Before(share, launched, compiled))
    assert is_cold is cold
    assert says in how_known


def test_the_second_launch_finds_what_the_first_one_left(
    compiling: Variant, loadable: Loadable, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    first = before_start(compiling, loadable, home, has_fresh_caches=True)
    second = before_start(compiling, loadable, home)
    third = before_start(compiling, loadable, home)
    assert [one.launched_before for one in (first, second, third)] == [False, True, True]
    assert [one.compiled_before for one in (first, second, third)] == [False, False, True]


def test_an_engine_that_keeps_nothing_has_no_caches_to_be_warm(
    variant: Variant, loadable: Loadable, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    assert [before_start(variant, loadable, home).compiled_before for _ in range(2)] == [None, None]


def test_fresh_caches_are_empty_folders_that_the_launch_is_told_of(compiling: Variant, variant: Variant) -> None:
    spec = LaunchSpec(argv=("x",), env=(("A", "b"),))
    with fresh_caches(compiling, ColdStartPlan()) as adapted:
        env = dict(adapted(spec).env)
        folders = {name: Path(env[name]) for name in ADAPTERS["vllm_cpu"].cache_variables}
        assert folders.keys() == {"VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR"}
        parent = next(iter(folders.values())).parent
        assert parent.is_dir()
        assert list(parent.iterdir()) == []
    assert not parent.exists()
    with fresh_caches(variant, ColdStartPlan()) as adapted:
        assert adapted(spec) == spec
    with fresh_caches(compiling, ColdStartPlan(fresh_engine_caches=False)) as adapted:
        assert adapted(spec) == spec


def test_the_entry_has_every_phase_or_a_reason(variant: Variant, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("0.00.100.000 I srv  init: loading model\n0.00.350.500 I srv  init: model loaded\n")
    server = Server("u", "m", (), None, {"healthy_s": 0.4, "first_token_s": 0.5})
    found = cold_start(
        variant, Before(0.0, False, None), server, log_file=log, launch=2, stages_s={"environment": 3.0, "launch": 9.0}
    )
    assert (found.weights_s, found.healthy_s, found.first_token_s, found.environment_s) == (0.2505, 0.4, 0.5, 3.0)
    assert found.cold
    absent = {name for name, value in found.phases().items() if value is None}
    assert absent == {"pull_s", "compile_s", "capture_s"} == found.reasons.keys()
    assert tuple(found.phases()) == PHASES


def test_starts_are_kept_by_launch_and_read_back_in_order(variant: Variant, tmp_path: Path) -> None:
    campaign = Campaign("e", tmp_path / "1")
    starts = [ColdStart(launch=1, cold=True, how_known="x", on_purpose=True), ColdStart(cold=False, how_known="y")]
    campaign.server_log(variant.id, 1).touch()
    keep_starts(campaign, variant, 1, starts)
    assert kept_starts(campaign, variant, [1, 2]) == tuple(starts)
    assert campaign.next_launch(variant.id) == 2


def test_a_plan_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for nothing"):
        ColdStartPlan(drop_page_cache=False, fresh_engine_caches=False)


def test_a_start_on_purpose_reads_its_weights_from_the_disk(
    variant: Variant, loadable: Loadable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the server itself, which answers at once."""
    drop([loadable.path])
    if resident_share([loadable.path]):
        pytest.skip("this file system keeps its files in memory")
    loadable.path.read_bytes()

    @contextlib.contextmanager
    def stand_in(*_: object, **__: object) -> Iterator[Server]:
        assert resident_share([loadable.path]) == 0.0
        yield Server("u", "m", (), None, {"healthy_s": 0.1, "first_token_s": 0.2})

    monkeypatch.setattr("tasks.cold_start.serve", stand_in)
    home = Home(tmp_path / "home")
    found = start_cold(variant, loadable, ColdStartPlan(), home=home, log_file=tmp_path / "log", launch=1, stages_s={})
    assert (found.cold, found.on_purpose, found.page_cache_share) == (True, True, 0.0)
