"""When the warm-up ends, what it says of that, and what it foresees."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.errors import ServerDied
from experiments.schema.conversation import Conversation
from experiments.schema.load import WarmUp
from experiments.schema.result import WarmUpResult
from tasks.analysis.warm import is_steady
from tasks.loadgen.pool import Pool
from tasks.warm_up import slowed, warm_up, warm_up_result
from tests.fake_engine import FakeEngine
from tests.tasks.loadgen.plans import plan


def test_a_user_who_thinks_is_foreseen_to_ask_more_slowly() -> None:
    """Four turns at 10 rps take 0.4 s, and three times two seconds of thinking."""
    assert slowed(10.0, Conversation(turns=4, think_time_s=2)) == pytest.approx(4 / 6.4)
    assert slowed(10.0, None) == 10.0
    assert slowed(0.0, Conversation(turns=4)) == 0.0


def warmed(folder: Path, script: str, how: WarmUp) -> WarmUpResult:
    with FakeEngine() as engine, Pool() as pool:
        warm_up.fn(replace(plan(engine.url, script, prompt_tokens=8, output_tokens=4), processes=1), folder, pool, how)
    result = warm_up_result(folder, 7)
    assert result is not None
    return result


def test_it_takes_the_windows_asked_for_and_says_whether_the_last_agreed(tmp_path: Path) -> None:
    result = warmed(tmp_path, "", WarmUp(max_seconds=8, window_seconds=0.2, windows=3))
    assert result.launch == 7
    assert len(result.tokens_per_window) >= 3
    assert result.is_steady is is_steady(result.tokens_per_window)


def test_an_engine_too_slow_to_tell_is_measured_after_the_cap_and_it_says_so(tmp_path: Path) -> None:
    """Sixteen tokens in a stretch are not reached."""
    result = warmed(tmp_path, "late", WarmUp(max_seconds=0.5, window_seconds=0.2))
    assert not result.is_steady
    assert result.seconds >= 0.5


def test_a_server_that_died_is_not_warmed_up_until_the_time_is_spent(tmp_path: Path) -> None:
    looked = []

    def check_alive() -> None:
        looked.append("once")
        if len(looked) == 2:
            raise ServerDied("it was killed")

    how = WarmUp(max_seconds=60, window_seconds=0.2, windows=200)
    with FakeEngine() as engine, Pool() as pool:
        asked = replace(plan(engine.url, prompt_tokens=8, output_tokens=4), processes=1)
        with pytest.raises(ServerDied, match="it was killed"):
            warm_up.fn(asked, tmp_path, pool, how, check_alive)
    assert len(looked) == 2


def test_a_launch_that_was_not_warmed_up_has_no_result(tmp_path: Path) -> None:
    assert warm_up_result(tmp_path, 1) is None
