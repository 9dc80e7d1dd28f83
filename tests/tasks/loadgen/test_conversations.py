"""Conversations over real sockets, held against the bodies, connections and times that the server kept."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from engine_adapters.base import RequestDialect
from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, Constant, OpenLoop, StopRule
from experiments.schema.workload import Workload
from tasks.loadgen import trial as trial_module
from tasks.loadgen.plan import Endpoint, Progress, TrialPlan
from tasks.loadgen.pool import Pool
from tasks.loadgen.preflight import Preflight, run_preflight
from tasks.loadgen.schedule import make_schedule
from tasks.loadgen.trial import run_trial
from tests.fake_engine import FakeEngine, Seen, answer_mark
from tests.tasks.loadgen.trials import Row, is_alive, outcomes, rows

MS = 1_000_000
TOKENS = 4


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as pool:
        yield pool


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@dataclass
class Talks:
    """Trials of conversations with ordinary values for all that a test does not care for."""

    engine: FakeEngine
    script: str = "says-which"
    endpoint: Literal["completions", "chat"] = "chat"
    turns: object = 3
    think_s: float = 0.0
    load: OpenLoop | ClosedLoop = field(default_factory=lambda: ClosedLoop(concurrency=3))
    stop: StopRule = field(default_factory=lambda: StopRule(requests=14))
    processes: int = 1
    output_tokens: int = TOKENS
    preflight: Preflight = field(default_factory=lambda: Preflight(needs_done=True))
    extra: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> TrialPlan:
        conversation = Conversation.model_validate({"turns": self.turns, "think_time_s": self.think_s, **self.extra})
        return TrialPlan(
            endpoint=Endpoint(self.engine.url, f"fake:{self.script}"),
            dialect=RequestDialect(),
            workload=Workload(
                name="w",
                prompt_tokens=8,
                output_tokens=self.output_tokens,
                endpoint=self.endpoint,
                conversation=conversation,
            ),
            load=self.load,
            stop=self.stop,
            processes=self.processes,
            timeout_s=10.0,
        )

    def run(self, out_dir: Path, pool: Pool | None, on_progress: Any = None) -> list[Row]:
        """The records; what the pre-flight asked is not among the engine's generations afterwards."""
        preflight = replace(self.preflight)
        self.engine.seen.clear()
        records = run_trial(self.plan(), preflight, out_dir=out_dir, on_progress=on_progress, pool=pool)
        return rows(records.parquet)


def talks_of(found: list[Row]) -> dict[int, list[Row]]:
    """By conversation, in the order of turns."""
    talks: dict[int, list[Row]] = defaultdict(list)
    for row in found:
        talks[row["conversation"]].append(row)
    assert all([row["turn"] for row in talk] == list(range(len(talk))) for talk in talks.values())
    return dict(talks)


def threads(seen: Sequence[Seen]) -> list[list[Seen]]:
    """Requests chained by what they say, in the order of arrival: each goes on from the longest that it begins with."""
    chains: list[list[Seen]] = []
    for one in seen:
        said = transcript(one)
        goes_on = [chain for chain in chains if said[: len(transcript(chain[-1]))] == transcript(chain[-1])]
        if goes_on:
            max(goes_on, key=lambda chain: len(transcript(chain[-1]))).append(one)
        else:
            chains.append([one])
    return chains


def transcript(seen: Seen) -> list[Any]:
    """What is said, as a list: messages, words or ids."""
    if "messages" in seen.body:
        return list(seen.body["messages"])
    prompt = seen.body["prompt"]
    return prompt.split(" ") if isinstance(prompt, str) else list(prompt)


def answer_words(seen: Seen, tokens: int = TOKENS) -> str:
    """What the fake engine said to it."""
    return "".join(f" a{answer_mark(seen.body)}w{k}" for k in range(1, tokens + 1))


@pytest.mark.parametrize("processes", [1, 2])
def test_each_turn_says_all_that_was_said_before_it(
    engine: FakeEngine, pool: Pool, tmp_path: Path, processes: int
) -> None:
    found = Talks(engine, processes=processes).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 14
    chains = threads(engine.generations)
    assert sorted(map(len, chains)) == [2, 3, 3, 3, 3]
    for chain in chains:
        assert [len(one.body["messages"]) for one in chain] == [1, 3, 5][: len(chain)]
        for before, after in pairwise(chain):
            *history, answered, asked = after.body["messages"]
            assert history == before.body["messages"]
            assert answered == {"role": "assistant", "content": answer_words(before)}
            assert asked["role"] == "user"
            assert asked["content"] not in [message["content"] for message in history]
    first = [chain[0].body["messages"][0]["content"] for chain in chains]
    assert len(set(first)) == len(first)


def test_ids_are_joined_without_loss_and_their_number_is_known_beforehand(
    engine: FakeEngine, pool: Pool, tmp_path: Path
) -> None:
    talks = Talks(engine, script="says-which+token-ids+bos", endpoint="completions", processes=2)
    talks.preflight = run_preflight(talks.plan())
    found = talks.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 14
    for chain in threads(engine.generations):
        assert [len(one.body["prompt"]) for one in chain] == [7, 19, 31][: len(chain)]
        for before, after in pairwise(chain):
            said = before.body["prompt"]
            assert after.body["prompt"][: len(said)] == said
            assert after.body["prompt"][len(said) :][:TOKENS] == [answer_mark(before.body)] * TOKENS
    assert [row["prompt_tokens_asked"] for row in found] == [row["prompt_tokens"] for row in found]
    assert {(row["turn"], row["prompt_tokens"]) for row in found} == {(0, 8), (1, 20), (2, 32)}


def test_where_the_server_tells_no_ids_a_completion_goes_on_from_the_text(
    engine: FakeEngine, pool: Pool, tmp_path: Path
) -> None:
    talks = Talks(engine, endpoint="completions")
    talks.preflight = run_preflight(talks.plan())
    found = talks.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 14
    for chain in threads(engine.generations):
        for before, after in pairwise(chain):
            said = before.body["prompt"] + answer_words(before) + " "
            assert after.body["prompt"].startswith(said)
            assert len(after.body["prompt"].removeprefix(said).split()) == 8
    assert {row["prompt_tokens_asked"] for row in found if row["turn"]} == {None}
    assert {row["prompt_tokens_asked"] for row in found if not row["turn"]} == {8}


def test_a_conversation_keeps_its_connection_and_its_process(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    found = Talks(engine, processes=2, think_s=0.01, stop=StopRule(requests=30)).run(tmp_path, pool)
    for chain in threads(engine.generations):
        assert len({one.connection for one in chain}) == 1
    for number, talk in talks_of(found).items():
        assert {row["process"] for row in talk} == {number % 2}
        assert all(row["connection_reused"] for row in talk[1:])


@pytest.mark.parametrize("told", [None, False])
def test_where_the_server_closes_each_turn_has_a_connection_of_its_own_and_says_so(
    engine: FakeEngine, pool: Pool, tmp_path: Path, told: bool | None
) -> None:
    # A request at once would be on its way before the close is seen.
    load = ClosedLoop(concurrency=3, think_time_s=0.1)
    talks = Talks(engine, script="says-which+closes-idle", think_s=0.1, load=load)
    talks.preflight = Preflight(needs_done=True, honoured={"keep_alive": told})
    found = talks.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 14
    assert not any(row["connection_reused"] for row in found)
    assert max(Counter(one.connection for one in engine.generations).values()) == 1


@pytest.mark.parametrize("think_s", [0.0, 0.03])
def test_a_turn_is_due_a_think_time_after_the_answer_and_never_sent_before(
    engine: FakeEngine, pool: Pool, tmp_path: Path, think_s: float
) -> None:
    found = Talks(engine, think_s=think_s).run(tmp_path, pool)
    for talk in talks_of(found).values():
        for before, after in pairwise(talk):
            assert after["due_at_ns"] == before["end_at_ns"] + round(think_s * 1e9)
            assert after["sent_at_ns"] >= after["due_at_ns"]
    for chain in threads(engine.generations):
        for before_it, one in pairwise(chain):
            assert one.received_at_ns - before_it.tokens_at_ns[-1] >= think_s * 1e9


def test_drawn_think_times_are_those_of_the_seed(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    talks = Talks(engine, extra={"think_time_s": {"kind": "exponential", "mean_s": 0.01}})
    dialogue = make_schedule(talks.plan()).dialogue
    assert dialogue is not None
    for number, talk in talks_of(talks.run(tmp_path, pool)).items():
        thought = [after["due_at_ns"] - before["end_at_ns"] for before, after in pairwise(talk)]
        assert thought == [dialogue.think_ns(number, turn) for turn in range(1, len(talk))]


def test_each_user_holds_one_conversation_after_the_other(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    load = ClosedLoop(concurrency=2, think_time_s=0.005)
    found = Talks(engine, load=load, stop=StopRule(requests=18), turns={"min": 1, "max": 4}).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 18
    talks = talks_of(found)
    spans = [(talk[0]["due_at_ns"], talk[-1]["end_at_ns"]) for talk in talks.values()]
    for at, _ in spans:
        assert sum(start <= at < end for start, end in spans) <= 2
    ends = {end for _, end in spans}
    assert all(start - 5 * MS in ends for start, _ in sorted(spans)[2:])


@pytest.mark.parametrize("processes", [1, 3])
def test_in_open_loop_arrivals_begin_conversations(
    engine: FakeEngine, pool: Pool, tmp_path: Path, processes: int
) -> None:
    load = OpenLoop(arrivals=Constant(), rate_rps=300.0)
    talks = Talks(engine, load=load, stop=StopRule(requests=31), processes=processes, think_s=0.02)
    found = talks.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 31
    begun = [talk[0]["due_at_ns"] for talk in talks_of(found).values()]
    assert [at - begun[0] for at in begun] == [k * 10 * MS for k in range(11)]
    assert sorted(map(len, threads(engine.generations))) == [1] + [3] * 10


def test_a_turn_that_fails_ends_its_conversation_and_what_was_promised_is_named(
    engine: FakeEngine, pool: Pool, tmp_path: Path
) -> None:
    talks = Talks(engine, script="says-which+context-30", endpoint="completions", turns=5, stop=StopRule(requests=23))
    found = talks.run(tmp_path, pool)
    assert len(found) == 23
    for talk in talks_of(found).values():
        expected = ["completed", "completed", "failed", "never_sent", "never_sent"][: len(talk)]
        assert outcomes(talk) == expected
        assert all("the context holds 30 tokens" in row["error"] for row in talk[2:3])
        assert [row["error"] for row in talk[3:]] == ["turn 2 of its conversation did not complete"] * len(talk[3:])
        assert all(row["prompt_tokens_asked"] is None and row["sent_at_ns"] is None for row in talk[3:])
    assert len(engine.generations) == sum(row["outcome"] != "never_sent" for row in found)


def test_with_seconds_no_turn_falls_due_at_their_end_or_after(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    for load in (ClosedLoop(concurrency=3), OpenLoop(arrivals=Constant(), rate_rps=60.0)):
        talks = Talks(engine, load=load, stop=StopRule(seconds=0.5, ramp_s=0.1), turns=40, think_s=0.01)
        found = talks.run(tmp_path, pool)
        assert outcomes(found) == ["completed"] * len(found)
        start = found[0]["due_at_ns"]
        assert all(row["due_at_ns"] < start + 500 * MS for row in found)
        assert [row["in_window"] for row in found] == [row["due_at_ns"] >= start + 100 * MS for row in found]
        assert len(engine.generations) == len(found)
        assert max(row["turn"] for row in found) > 0


def test_with_seconds_a_failed_turn_leaves_nothing_promised(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    talks = Talks(engine, script="says-which+context-30", stop=StopRule(seconds=0.4), turns=9, think_s=0.01)
    found = talks.run(tmp_path, pool)
    assert set(outcomes(found)) == {"completed", "failed"}
    for talk in talks_of(found).values():
        assert "failed" not in outcomes(talk)[:-1]


def test_a_server_that_dies_mid_conversation_leaves_every_request_accounted_for(pool: Pool, tmp_path: Path) -> None:
    with FakeEngine() as engine:
        talks = Talks(engine, script="says-which+steady", stop=StopRule(requests=60), turns=20, output_tokens=30)

        def stop(progress: Progress) -> None:
            if progress.finished:
                engine.stop()

        found = talks.run(tmp_path, pool, stop)
    assert len(found) == 60
    kinds = Counter(outcomes(found))
    assert set(kinds) == {"completed", "failed", "never_sent"}
    assert kinds["failed"] == 3  # one for each conversation
    for talk in talks_of(found).values():
        order = ["completed", "failed", "never_sent"]
        assert sorted(outcomes(talk), key=order.index) == outcomes(talk)


@pytest.mark.parametrize("load", [ClosedLoop(concurrency=4), OpenLoop(arrivals=Constant(), rate_rps=30.0)])
def test_an_interrupted_trial_names_all_turns_that_were_not_sent(
    engine: FakeEngine, tmp_path: Path, load: ClosedLoop | OpenLoop
) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    talks = Talks(engine, load=load, script="says-which+hangs", stop=StopRule(requests=31), turns=4, processes=2)
    with Pool() as pool:
        pids = [worker.pid for worker in pool.workers(2)]
        with pytest.raises(KeyboardInterrupt):
            talks.run(tmp_path, pool, interrupt)
        assert not any(map(is_alive, pids))
    found = rows(tmp_path / "requests.parquet")
    assert len(found) == 31
    assert set(outcomes(found)) == {"cancelled", "never_sent"}
    assert {row["turn"] for row in found if row["outcome"] == "cancelled"} == {0}
    talks_of(found)


def test_answers_that_went_to_disk_are_repeated_whole(
    engine: FakeEngine, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "BUDGET_BYTES", 1000)
    talks = Talks(engine, output_tokens=900, script="says-which+slow-headers", stop=StopRule(requests=6))
    found = talks.run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6
    for chain in threads(engine.generations):
        for before, after in pairwise(chain):
            assert after.body["messages"][-2]["content"] == answer_words(before, 900)


def test_an_answer_of_reasoning_alone_is_answered_with_nothing_repeated_of_it(
    engine: FakeEngine, pool: Pool, tmp_path: Path
) -> None:
    found = Talks(engine, script="tool-calls", stop=StopRule(requests=6)).run(tmp_path, pool)
    assert outcomes(found) == ["completed"] * 6
    said = [message for one in engine.generations for message in one.body["messages"]]
    assert {message["content"] for message in said if message["role"] == "assistant"} == {""}


def test_the_same_seed_asks_the_same_whatever_the_processes(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    asked = []
    for processes in (1, 3):
        Talks(engine, processes=processes, turns={"min": 1, "max": 4}).run(tmp_path, pool)
        asked.append(sorted(json.dumps(one.body["messages"]) for one in engine.generations))
    assert asked[0] == asked[1]


def test_records_outside_conversations_have_no_turn(engine: FakeEngine, pool: Pool, tmp_path: Path) -> None:
    plan = Talks(engine).plan()
    alone = replace(plan, workload=plan.workload.model_copy(update={"conversation": None}))
    records = run_trial(alone, Preflight(needs_done=True), out_dir=tmp_path, pool=pool)
    assert {(row["conversation"], row["turn"]) for row in rows(records.parquet)} == {(None, None)}
