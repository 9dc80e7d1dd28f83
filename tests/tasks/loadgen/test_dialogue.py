"""The draws of conversations: as many requests as were asked for, the same whoever draws them."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import InputError
from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, OpenLoop, Poisson, StopRule, Trace
from tasks.loadgen.dialogue import dialogue_of
from tasks.loadgen.schedule import make_schedule
from tests.tasks.loadgen.plans import plan
from tests.tasks.loadgen.test_agenda import OPEN

RAGGED = Conversation.model_validate({"turns": {"min": 1, "max": 6}})
RANGES = st.builds(
    lambda low, more: Conversation.model_validate({"turns": {"min": low, "max": low + more}}),
    st.integers(1, 4),
    st.integers(1, 5),
)


@given(RANGES, st.integers(0, 2**70), st.integers(1, 300))
def test_the_turns_of_all_conversations_are_the_requests_asked_for(
    conversation: Conversation, seed: int, requests: int
) -> None:
    dialogue = dialogue_of(conversation, seed=seed, requests=requests)
    assert dialogue.count is not None
    turns = [dialogue.turns(number) for number in range(dialogue.count)]
    assert sum(turns) == requests
    assert all(conversation.fewest_turns <= count <= conversation.most_turns for count in turns[:-1])
    assert 1 <= turns[-1] <= conversation.most_turns


@given(RANGES, st.integers(1, 5), st.integers(1, 120))
def test_every_turn_has_an_index_of_its_own_and_a_conversation_one_process(
    conversation: Conversation, processes: int, requests: int
) -> None:
    dialogue = dialogue_of(conversation, seed=1, requests=requests)
    assert dialogue.count is not None
    seen: dict[int, tuple[int, int]] = {}
    for process in range(processes):
        share = replace(OPEN, process=process, processes=processes, dialogue=dialogue)
        for local, number in enumerate(range(process, dialogue.count, processes)):
            for turn in range(dialogue.turns(number)):
                position = local * dialogue.most_turns + turn
                index = share.index(position)
                assert share.position(index) == position
                assert index not in seen
                seen[index] = (number, turn)
    assert len(seen) == requests
    assert [seen[index] for index in sorted(seen)] == sorted(seen.values())


def test_a_longer_trial_begins_with_the_same_conversations() -> None:
    short, long = (dialogue_of(RAGGED, seed=5, requests=n) for n in (50, 500))
    assert short.count is not None
    assert [short.turns(k) for k in range(short.count - 1)] == [long.turns(k) for k in range(short.count - 1)]


@pytest.mark.parametrize(
    ("think", "mean_s", "log_std"),
    [
        ({"kind": "exponential", "mean_s": 2.0}, 2.0, None),
        ({"kind": "lognormal", "mean_s": 2.0, "sigma": 0.5}, 2.0, 0.5),
    ],
)
def test_think_times_have_the_moments_asked_for(think: object, mean_s: float, log_std: float | None) -> None:
    dialogue = dialogue_of(Conversation.model_validate({"turns": 5, "think_time_s": think}), seed=3, requests=None)
    drawn = np.array([dialogue.think_ns(c, t) for c in range(1000) for t in range(1, 5)]) / 1e9
    assert drawn.mean() == pytest.approx(mean_s, rel=0.08)  # 4000 draws: 1.6 % and less of standard error
    if log_std is None:
        assert drawn.std() == pytest.approx(mean_s, rel=0.1)
    else:
        assert np.log(drawn).std() == pytest.approx(log_std, rel=0.08)
    assert dialogue.think_ns(7, 2) != dialogue.think_ns(7, 3) != dialogue.think_ns(8, 2)


def test_a_constant_think_time_is_constant() -> None:
    dialogue = dialogue_of(Conversation(turns=3, think_time_s=0.25), seed=3, requests=None)
    assert {dialogue.think_ns(c, t) for c in range(9) for t in (1, 2)} == {250_000_000}
    assert list(islice(map(dialogue.turns, range(100)), 3)) == [3, 3, 3]


def test_open_loop_conversations_begin_at_the_rate_that_makes_the_requests_asked_for() -> None:
    trial = plan()
    workload = trial.workload.model_copy(update={"conversation": RAGGED})
    asked = replace(trial, workload=workload, load=OpenLoop(arrivals=Poisson(), rate_rps=70.0))
    schedule = make_schedule(replace(asked, stop=StopRule(requests=7000)))
    assert schedule.due_ns is not None
    assert schedule.dialogue is not None
    turns = [schedule.dialogue.turns(number) for number in range(len(schedule.due_ns))]
    assert sum(turns) == 7000 == schedule.count
    per_second = len(schedule.due_ns) / (schedule.due_ns[-1] / 1e9)
    assert per_second == pytest.approx(70.0 / 3.5, rel=0.1)  # some 2000 gaps: 2.2 %
    timed = make_schedule(replace(asked, stop=StopRule(seconds=3)))
    assert timed.count is None
    assert timed.due_ns is not None
    assert timed.due_ns.max() < 3_000_000_000


def test_the_first_prompt_and_the_later_ones_have_their_own_lengths() -> None:
    trial = plan(prompt_tokens=50)
    conversation = Conversation(turns=3, first_prompt_tokens=200, turn_prompt_tokens=20)
    workload = trial.workload.model_copy(update={"conversation": conversation})
    schedule = make_schedule(replace(trial, workload=workload, load=ClosedLoop(concurrency=2)))
    assert schedule.prompt_tokens.tolist() == [200, 20, 20]
    assert schedule.output_tokens.tolist() == [16, 16, 16]


def test_a_trace_cannot_replay_conversations() -> None:
    trial = plan()
    workload = trial.workload.model_copy(update={"conversation": RAGGED})
    load = OpenLoop(arrivals=Trace(path="x.csv"), rate_rps=None)
    with pytest.raises(InputError, match="give a rate or a concurrency"):
        make_schedule(replace(trial, workload=workload, load=load))
