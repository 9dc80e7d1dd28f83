"""What the pre-flight finds out of servers that honour everything, something, or nothing.

Expected lengths are counted from the requests that the fake engine received, not from what the pre-flight says."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_adapters.base import RequestDialect
from experiments.errors import SetupError
from tasks.loadgen.body import TokenPrompts, WordPrompts
from tasks.loadgen.payload import body_source
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.preflight import Preflight, run_preflight
from tests.fake_engine import END_ID, SPECIAL_IDS, FakeEngine, output_tokens, prompt_tokens, script_for
from tests.tasks.loadgen.plans import plan


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Ids 0 to 3 are special, 2 ends an answer; the rest are words."""
    vocabulary = {f"<{number}>": number for number in SPECIAL_IDS} | {
        f"Ġw{chr(97 + n // 26)}{chr(97 + n % 26)}": 10 + n for n in range(200)
    }
    added = [{"id": number, "content": f"<{number}>"} for number in SPECIAL_IDS]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {"vocab": vocabulary}}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": END_ID}))
    return tmp_path


def first_bodies(trial: TrialPlan, found: Preflight) -> list[dict[str, Any]]:
    source = body_source(trial, found)
    asked = trial.workload
    return [
        json.loads(source.body(index, asked.longest_prompt_tokens, asked.longest_output_tokens)) for index in range(20)
    ]


def realised(trial: TrialPlan, found: Preflight) -> set[tuple[int, int]]:
    """Prompt and output tokens of the first requests of the trial, as the fake engine counts."""
    script = script_for(trial.endpoint.model)
    return {(prompt_tokens(body, script), output_tokens(body, script)) for body in first_bodies(trial, found)}


def test_a_server_that_honours_everything_gets_token_ids_of_exact_length(engine: FakeEngine) -> None:
    trial = plan(engine.url, "short+token-ids")
    found = run_preflight(trial)
    assert found.findings == ()
    assert found.honoured == {
        "token_id_prompts": True,
        "usage_in_stream": True,
        "done": True,
        "ignore_eos": True,
        "min_tokens": True,
        "token_ids_in_chunks": True,
        "keep_alive": True,
        "cache_reset": None,
        "prompt_length": True,
    }
    assert (found.token_ids, found.needs_done, found.body) == (True, True, {"return_token_ids": True})
    assert realised(trial, found) == {(100, 16)}


def test_a_few_requests_are_enough_and_none_is_one_of_the_trials(engine: FakeEngine) -> None:
    trial = plan(engine.url, "short")
    found = run_preflight(trial)
    assert len(engine.seen) <= 12
    asked = [seen.body["prompt"] for seen in engine.generations]
    assert all(body["prompt"] not in asked for body in first_bodies(trial, found))


def test_a_bos_is_taken_off_so_that_realised_is_asked(engine: FakeEngine) -> None:
    trial = plan(engine.url, "bos")
    found = run_preflight(trial)
    assert realised(trial, found) == {(100, 16)}
    assert isinstance(found.prompts, TokenPrompts)
    assert found.prompts.overhead_tokens == 1


def test_text_converges_through_the_chat_template(engine: FakeEngine) -> None:
    for script in ("template", "template+bos", "template+refuses-ids"):
        trial = plan(engine.url, script, endpoint="chat")
        found = run_preflight(trial)
        assert (found.findings, realised(trial, found)) == ((), {(100, 16)})


def test_other_lengths_than_the_workloads_follow_the_same_line(engine: FakeEngine) -> None:
    """A trace has a length for each request; only one was converged on."""
    cases: tuple[tuple[str, Any], ...] = (("template", "chat"), ("bos", "completions"), ("refuses-ids", "completions"))
    for script, endpoint in cases:
        trial = plan(engine.url, script, endpoint=endpoint)
        source = body_source(trial, run_preflight(trial))
        for tokens in (30, 99, 2000):
            assert prompt_tokens(json.loads(source.body(1, tokens, 4)), script_for(trial.endpoint.model)) == tokens


@pytest.mark.parametrize("script", ["refuses-ids", "one-prompt-an-id"])
def test_text_is_sent_where_token_ids_are_not_a_prompt(engine: FakeEngine, script: str) -> None:
    trial = plan(engine.url, script)
    found = run_preflight(trial)
    assert (found.token_ids, found.honoured["token_id_prompts"], found.findings) == (False, False, ())
    assert realised(trial, found) == {(100, 16)}


@pytest.mark.parametrize(("script", "tolerance"), [("counts-characters", 1), ("counts-oddly", 0)])
def test_words_converge_whatever_the_server_counts(engine: FakeEngine, script: str, tolerance: int) -> None:
    trial = plan(engine.url, f"refuses-ids+{script}")
    found = run_preflight(trial)
    assert found.findings == ()
    assert all(abs(prompt - 100) <= tolerance for prompt, _ in realised(trial, found))


def test_a_prompt_shorter_than_the_template_is_a_finding(engine: FakeEngine) -> None:
    found = run_preflight(plan(engine.url, "template", endpoint="chat", prompt_tokens=5))
    assert found.findings == ("prompt length: the server counts 12 tokens where 5 were asked",)
    assert found.honoured["prompt_length"] is False


def test_words_and_ids_are_those_of_the_tokenizer_without_its_special_ones(engine: FakeEngine, tokenizer: Path) -> None:
    ids = run_preflight(plan(engine.url, tokenizer=tokenizer))
    words = run_preflight(plan(engine.url, endpoint="chat", tokenizer=tokenizer))
    assert isinstance(ids.prompts, TokenPrompts)
    assert set(map(int, ids.prompts.ids)) == set(range(10, 210))
    assert isinstance(words.prompts, WordPrompts)
    assert set(words.prompts.words) <= {f"w{a}{b}" for a in "abcdefgh" for b in "abcdefghijklmnopqrstuvwxyz"}


def test_ids_are_asked_of_the_servers_own_tokenizer(engine: FakeEngine) -> None:
    found = run_preflight(plan(engine.url, "tokenizes"))
    assert isinstance(found.prompts, TokenPrompts)
    assert set(map(int, found.prompts.ids)) <= set(range(100, 400))
    assert len(found.prompts.ids) > 64


@pytest.mark.parametrize(("script", "kept"), [("", True), ("closes-idle", False), ("close-framed", False)])
def test_a_connection_that_ends_with_its_answer_is_not_kept(engine: FakeEngine, script: str, kept: bool) -> None:
    assert run_preflight(plan(engine.url, script)).honoured["keep_alive"] is kept


@pytest.mark.parametrize(
    ("script", "honoured", "body"),
    [
        ("ignores-ignore-eos", (False, True), {"min_tokens": "{output_tokens}"}),
        ("short", (True, True), {}),
        ("", (None, None), {}),
    ],
)
def test_what_keeps_an_answer_going_is_proved_and_not_assumed(
    engine: FakeEngine, script: str, honoured: tuple[bool | None, ...], body: dict[str, object]
) -> None:
    trial = plan(engine.url, script)
    found = run_preflight(trial)
    assert (found.honoured["ignore_eos"], found.honoured["min_tokens"]) == honoured
    assert (found.body, found.findings) == (body, ())
    assert realised(trial, found) == {(100, 16)}


def test_ends_are_biased_away_where_nothing_else_is_honoured(engine: FakeEngine, tokenizer: Path) -> None:
    trial = plan(engine.url, "only-logit-bias", tokenizer=tokenizer)
    found = run_preflight(trial)
    assert (found.honoured["ignore_eos"], found.honoured["min_tokens"]) == (False, False)
    assert found.honoured["exact_output_by"] == "logit_bias"
    assert realised(trial, found) == {(100, 16)}


def test_an_end_is_forced_where_no_answer_would_end_by_itself(engine: FakeEngine, tokenizer: Path) -> None:
    assert run_preflight(plan(engine.url, tokenizer=tokenizer)).honoured["ignore_eos"] is True


def test_output_lengths_that_cannot_be_fixed_are_a_finding(engine: FakeEngine) -> None:
    found = run_preflight(plan(engine.url, "ends-early"))
    assert (found.honoured["ignore_eos"], found.honoured["min_tokens"]) == (False, False)
    (finding,) = found.findings
    assert finding.startswith("output lengths cannot be fixed")


def test_fields_that_are_refused_are_not_sent(engine: FakeEngine) -> None:
    dialect = RequestDialect(body={"temperature": 0.0, "top_k": 1, "min_p": 0.0})
    trial = plan(engine.url, "refuses-unknown", dialect=dialect)
    found = run_preflight(trial)
    assert set(found.refused) == {"top_k", "min_p", "ignore_eos"}
    assert all(not body.keys() & {"top_k", "min_p", "ignore_eos"} for body in first_bodies(trial, found))
    assert (found.honoured["ignore_eos"], found.honoured["min_tokens"]) == (False, False)
    assert any("cannot be fixed" in finding for finding in found.findings)


@pytest.mark.parametrize("usage", ["asked", "always"])
def test_usage_is_asked_for_where_it_does_not_come_by_itself(engine: FakeEngine, usage: Any) -> None:
    trial = plan(engine.url, dialect=RequestDialect(usage_in_stream=usage))
    found = run_preflight(trial)
    assert found.honoured["usage_in_stream"] is True
    assert all(body["stream_options"] == {"include_usage": True} for body in first_bodies(trial, found))


def test_lengths_that_nobody_tells_are_findings(engine: FakeEngine) -> None:
    found = run_preflight(plan(engine.url, "no-usage"))
    assert found.honoured["usage_in_stream"] is False
    assert {finding.partition(":")[0] for finding in found.findings} == {
        "output lengths cannot be verified",
        "prompt lengths cannot be verified",
    }


def test_done_is_needed_only_where_it_was_seen(engine: FakeEngine) -> None:
    assert run_preflight(plan(engine.url)).needs_done is True
    found = run_preflight(plan(engine.url, "no-done"))
    assert (found.needs_done, found.honoured["done"], found.findings) == (False, False, ())


@pytest.mark.parametrize(("path", "honoured", "findings"), [("/fake/reset_cache", True, 0), ("/nowhere", False, 1)])
def test_the_cache_is_reset_last_of_all(engine: FakeEngine, path: str, honoured: bool, findings: int) -> None:
    found = run_preflight(plan(engine.url, dialect=RequestDialect(cache_reset_path=path)))
    assert (found.honoured["cache_reset"], len(found.findings)) == (honoured, findings)
    assert (engine.seen[-1].method, engine.seen[-1].path) == ("POST", path)


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        ("busy", "pre-flight: http 503: busy (503)"),
        ("html", "pre-flight: not an event stream: text/html: Welcome"),
        ("redirect", "pre-flight: http 307: redirect to http://elsewhere.example/v1"),
        ("error-first", "pre-flight: error object: out of memory (500)"),
        ("error-middle", "pre-flight: error object: out of memory (500)"),
        ("eof", "pre-flight: truncated: closed before the end of the body, after 2 chunks"),
        ("reset", "pre-flight: reset: the connection broke after 2 chunks"),
        ("closes-first", "pre-flight: closed before any byte of the answer, on a fresh connection"),
        ("silent", "pre-flight: timed out before the headers of an answer"),
        ("hangs", "pre-flight: timed out after http 200 and 2 chunks"),
        ("drips", "pre-flight: timed out after http 200 and 2 chunks"),
    ],
)
def test_a_failing_preflight_is_a_finding_and_stops_nothing(engine: FakeEngine, script: str, finding: str) -> None:
    trial = plan(engine.url, script, timeout_s=0.3)
    found = run_preflight(trial)
    assert found.findings == (finding,)
    assert found.refused == ()
    assert len(engine.seen) <= 4
    assert len(first_bodies(trial, found)[0]["prompt"]) == 100


def test_a_stream_without_a_finish_reason_is_examined_all_the_same(engine: FakeEngine) -> None:
    found = run_preflight(plan(engine.url, "no-finish"))
    assert "pre-flight: truncated: no finish reason" in found.findings
    assert found.honoured["usage_in_stream"] is True


def test_a_server_that_is_not_there_is_a_setup_error_that_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(SetupError, match=rf"127\.0\.0\.1:{port}: no connection .*refused.*Is the server up") as told:
        run_preflight(plan(f"http://user:s3cret@127.0.0.1:{port}"))
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("url", ["ftp://h", "nonsense", "http://"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(SetupError, match="no address of a server"):
        run_preflight(plan(url))


def test_the_key_is_sent_and_stands_in_no_finding(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "s3cret-key")
    found = run_preflight(plan(engine.url, "quotes-the-key", api_key_env="FAKE_KEY"))
    assert {seen.headers["authorization"] for seen in engine.seen} == {"Bearer s3cret-key"}
    assert found.findings == ("pre-flight: http 401: no such key: ***",)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_KEY", raising=False)
    with pytest.raises(SetupError, match="FAKE_KEY"):
        run_preflight(plan(api_key_env="FAKE_KEY"))
