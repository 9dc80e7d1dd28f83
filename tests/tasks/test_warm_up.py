"""What the warm-up foresees."""

import pytest

from experiments.schema.conversation import Conversation
from tasks.warm_up import slowed


def test_a_user_who_thinks_is_foreseen_to_ask_more_slowly() -> None:
    """Four turns at 10 rps take 0.4 s, and three times two seconds of thinking."""
    assert slowed(10.0, Conversation(turns=4, think_time_s=2)) == pytest.approx(4 / 6.4)
    assert slowed(10.0, None) == 10.0
    assert slowed(0.0, Conversation(turns=4)) == 0.0
