"""Conversations turn by turn, against plain loops over the records."""

import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from experiments.schema.conversation import Conversation
from experiments.schema.load import ClosedLoop, Load, OpenLoop, Poisson
from experiments.schema.result import TrialSummary
from experiments.schema.workload import Workload
from tasks.analysis.trial import summarize_trial
from tasks.analysis.trial_json import trial_json
from tasks.loadgen.record import Outcome, RequestRecord, read_records, records_table, write_records
from tasks.reporting.trial_table import trial_table
from tests.tasks.analysis.test_trial_json import absent_figures

MakeRecord = Callable[..., RequestRecord]
TURNS = 4
TALKS = Workload(name="w", prompt_tokens=100, output_tokens=8, conversation=Conversation(turns=TURNS))


def summarize(records: list[RequestRecord], load: Load | None = None, workload: Workload = TALKS) -> TrialSummary:
    window = min(r.due_at_ns for r in records), max(r.end_at_ns or r.due_at_ns for r in records)
    return summarize_trial(
        records_table(records),
        window=window,
        load=load or ClosedLoop(concurrency=4),
        workload=workload,
        slos=(),
        client={},
        method_version="1",
    )


@pytest.fixture
def talks(record: MakeRecord) -> list[RequestRecord]:
    """80 conversations of four turns; a later turn costs less than its prompt, since most of that is cached."""
    rng, records = random.Random(5), []
    for conversation in range(80):
        due, prompt = conversation * 150.0, 100
        for turn in range(TURNS):
            first = due + rng.expovariate(1 / 20) + 5 * turn
            chunks = [first + 6 * k for k in range(8)]
            outcome = Outcome.FAILED if rng.random() < 0.03 else Outcome.COMPLETED
            records.append(
                record(
                    conversation * TURNS + turn, due, chunks, outcome=outcome, conversation=conversation, turn=turn,
                    prompt_tokens=prompt, prompt_tokens_asked=100 if turn == 0 else None,
                    cached_tokens=0 if turn == 0 else prompt - 100 - rng.randint(0, 8),
                    in_window=conversation >= 4,
                )
            )  # fmt: skip
            due, prompt = chunks[-1] + 30, prompt + 108
    return records


def per_turn(records: list[RequestRecord], turn: int) -> list[RequestRecord]:
    return [r for r in records if r.turn == turn and r.in_window]


def test_every_figure_of_a_turn_is_that_of_a_loop_over_its_records(talks: list[RequestRecord]) -> None:
    summary = summarize(talks)
    assert [turn.turn for turn in summary.turns] == list(range(TURNS))
    for turn in summary.turns:
        these = per_turn(talks, turn.turn)
        done = [r for r in these if r.outcome is Outcome.COMPLETED]
        assert turn.requests == len(these)
        assert turn.outcomes["failed"] == len(these) - len(done)
        expected = {
            "ttft_ms": [(r.chunk_at_ns[0] - (r.sent_at_ns or 0)) / 1e6 for r in done],
            "e2e_ms": [(r.chunk_at_ns[-1] - (r.sent_at_ns or 0)) / 1e6 for r in done],
            "tpot_ms": [(r.chunk_at_ns[-1] - r.chunk_at_ns[0]) / 1e6 / 7 for r in done],
            "prompt_tokens": [float(r.prompt_tokens or 0) for r in done],
            "cache_hit_ratio": [(r.cached_tokens or 0) / (r.prompt_tokens or 1) for r in done],
        }
        assert turn.figures.keys() == expected.keys()
        for name, values in expected.items():
            figure = turn.figures[name]
            assert figure.n == len(values)
            assert figure.p50 == pytest.approx(statistics.median(values))
            assert figure.p95 == pytest.approx(statistics.quantiles(values, n=20, method="inclusive")[-1])
            assert figure.mean == pytest.approx(statistics.fmean(values))
            low, high = figure.intervals["p50"]
            assert low is not None
            assert high is not None
            assert low <= statistics.median(values) <= high
        hits = sum(r.cached_tokens or 0 for r in done) / sum(r.prompt_tokens or 0 for r in done)
        assert turn.cache_hit_ratio == pytest.approx(hits)


def test_the_requests_of_all_turns_are_those_due_in_the_window(talks: list[RequestRecord]) -> None:
    turns = summarize(talks).turns
    assert sum(turn.requests for turn in turns) == sum(r.in_window for r in talks)
    assert all(sum(turn.outcomes.values()) == turn.requests for turn in turns)


def test_without_conversations_there_are_no_turns(steady_records: Callable[..., list[RequestRecord]]) -> None:
    assert summarize(steady_records()).turns == ()


def test_what_a_history_finds_in_the_cache_breaks_no_cold_workload(talks: list[RequestRecord]) -> None:
    assert not [reason for reason in summarize(talks).invalid_reasons if "cache" in reason]
    for r in talks:
        if r.turn == 0:
            r.cached_tokens = 50
    (reason,) = [reason for reason in summarize(talks).invalid_reasons if "cache" in reason]
    assert "50.0%" in reason


def test_a_growing_history_is_no_wrong_length(talks: list[RequestRecord]) -> None:
    assert not [reason for reason in summarize(talks).invalid_reasons if "realised" in reason or "history" in reason]
    for r in talks:
        if r.turn == 0:
            r.prompt_tokens = 90
    assert any("realised prompt tokens are 10.0% off" in reason for reason in summarize(talks).invalid_reasons)


def test_a_server_that_drops_its_history_is_found_out(talks: list[RequestRecord]) -> None:
    for r in talks:
        r.prompt_tokens = min(r.prompt_tokens or 0, 300) - (r.turn == 3)
    (reason,) = [reason for reason in summarize(talks).invalid_reasons if "history" in reason]
    done = [r for r in talks if r.turn == 3 and r.in_window and r.outcome is Outcome.COMPLETED]
    assert f"in {len(done)} of " in reason


def test_conversations_that_are_still_filling_are_not_called_drifting(talks: list[RequestRecord]) -> None:
    """Each lasts as long as 16 requests: the stretch between filling and draining is short of it."""
    for r in talks:
        late = (r.turn or 0) * 4_000_000_000
        r.due_at_ns, r.end_at_ns = r.due_at_ns + late, (r.end_at_ns or 0) + late
        r.sent_at_ns, r.chunk_at_ns = (r.sent_at_ns or 0) + late, [at + late for at in r.chunk_at_ns]
    summary = summarize(talks, OpenLoop(arrivals=Poisson(), rate_rps=20))
    assert not [reason for reason in summary.invalid_reasons if "drift" in reason]


def test_the_document_has_each_turn_with_its_reasons(talks: list[RequestRecord]) -> None:
    for r in talks:
        r.cached_tokens = None
    found = json.loads(json.dumps(trial_json(summarize(talks)), allow_nan=False))
    assert [turn["turn"] for turn in found["turns"]] == list(range(TURNS))
    for turn in found["turns"]:
        assert absent_figures(turn) == []
        assert "cache" in turn["cache_hit_ratio_reason"]
        assert turn["ttft_ms"]["p50"] > 0


def test_the_table_shows_a_line_for_each_turn(talks: list[RequestRecord]) -> None:
    def shown(summary: TrialSummary) -> str:
        console = Console(width=160)
        with console.capture() as capture:
            console.print(trial_table(summary))
        return capture.get()

    lines = [line.split() for line in shown(summarize(talks)).splitlines()]
    head = next(number for number, line in enumerate(lines) if line[:2] == ["turn", "n"])
    assert [line[0] for line in lines[head + 1 : head + 1 + TURNS]] == ["0", "1", "2", "3"]
    assert [line[-3] for line in lines[head + 1 : head + 1 + TURNS]] == ["100", "208", "316", "424"]
    alone = TALKS.model_copy(update={"conversation": None})
    for r in talks:
        r.turn = r.conversation = None
    assert "turn  n" not in shown(summarize(talks, workload=alone))


def test_records_of_before_there_were_conversations_are_read_as_having_none(
    steady_records: Callable[..., list[RequestRecord]], tmp_path: Path
) -> None:
    table: pa.Table = records_table(steady_records())
    write_records(tmp_path / "requests.parquet", table.drop_columns(["conversation", "turn"]))
    read: Any = read_records(tmp_path / "requests.parquet")
    assert read["turn"].null_count == read["conversation"].null_count == len(table)
    assert read.equals(table)
