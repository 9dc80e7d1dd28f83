"""`dyno load` refuses what it cannot carry out, before anything is sent."""

import os
from pathlib import Path

import pytest

from experiments.errors import InputError
from experiments.schema.conversation import Conversation
from experiments.schema.length import FromData
from experiments.schema.load import ClosedLoop, OpenLoop, Trace
from experiments.schema.workload import SharedPrefix, Workload
from flows.cli_load import Content, api_key_variable, folder_for, server_root, workload_of


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h", "http://h"),
        ("http://h:8000/", "http://h:8000"),
        ("http://h:8000/v1", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000"),
        ("https://h/team/a/v1/", "https://h/team/a"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("HTTP://h:8000", "http://h:8000"),
        ("  http://h/v11 ", "http://h/v11"),
    ],
)
def test_a_url_is_taken_as_the_servers_root(url: str, root: str) -> None:
    assert server_root(url) == root


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("h:8000", "give the server's address"),
        ("http://", "give the server's address"),
        ("ftp://h", "give the server's address"),
        ("http://h:0", "give the server's address"),
        ("http://h:99999", "Port out of range"),
        ("http://h:http", "Port could not be cast"),
        ("http://[::1", "Invalid IPv6"),
        ("http://h?x=1", "leave out what follows the path"),
        ("http://me:s3cret@h", "leave user and password out; --api-key-env"),
        ("http://me:s3cret@h:99999", "Port out of range"),
        ("me:s3cret@h", "give the server's address"),
    ],
)
def test_a_url_that_cannot_be_used_as_it_stands_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as refusal:
        server_root(url)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("key", [None, " ", "two\nlines", "kéy", "€"])
def test_a_key_that_cannot_stand_in_a_header_is_an_error_of_input(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("A_KEY", key)
    with pytest.raises(InputError, match="--api-key-env A_KEY") as refusal:
        api_key_variable("A_KEY")
    assert not key or not key.strip() or key not in str(refusal.value)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(InputError, match=f"--out {out}: cannot be written to"):
            folder_for(out)


def test_the_figures_of_an_earlier_trial_do_not_stand_beside_new_records(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text("{}")
    assert folder_for(tmp_path) == tmp_path
    assert os.listdir(tmp_path) == []


def trace(folder: Path, text: str) -> OpenLoop:
    (folder / "trace.csv").write_text(text)
    return OpenLoop(arrivals=Trace(path=str(folder / "trace.csv")), rate_rps=None)


def test_lengths_that_nobody_gave_are_asked_for_and_never_made_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --prompt-tokens and --output-tokens"):
        workload_of(ClosedLoop(concurrency=1), "chat", None, None)
    with pytest.raises(InputError, match="give --prompt-tokens and --output-tokens"):
        workload_of(trace(tmp_path, "timestamp\n0\n"), "chat", None, None)
    with pytest.raises(InputError, match=r"give --output-tokens$"):
        workload_of(trace(tmp_path, "timestamp,input_length\n0,5\n"), "chat", None, None)
    workload_of(trace(tmp_path, "timestamp,input_length,output_length\n0,5,6\n"), "chat", None, None)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("128", 128),
        ("100-200", {"kind": "uniform", "min": 100, "max": 200}),
        ("uniform:100,200", {"kind": "uniform", "min": 100, "max": 200}),
        ("normal:100,20", {"kind": "normal", "mean": 100, "std": 20}),
        ("normal:100,20,50,150", {"kind": "normal", "mean": 100, "std": 20, "min": 50, "max": 150}),
        ("lognormal:100,0.5", {"kind": "lognormal", "median": 100, "sigma": 0.5}),
    ],
)
def test_a_length_on_the_command_line_is_what_the_schema_calls_it(text: str, meant: object) -> None:
    workload = workload_of(ClosedLoop(concurrency=1), "chat", text, text)
    written = Workload.model_validate({"name": "load", "prompt_tokens": meant, "output_tokens": meant})
    assert workload.prompt_tokens == written.prompt_tokens
    assert workload.output_tokens == written.output_tokens


@pytest.mark.parametrize("text", ["", "x", "1.5", "100-", "normal:100", "normal:a,b", "uniform:1,2,3", "poisson:3"])
def test_a_length_that_is_none_names_the_option_and_the_forms(text: str) -> None:
    with pytest.raises(InputError, match=r"--output-tokens .*normal:MEAN,STD"):
        workload_of(ClosedLoop(concurrency=1), "chat", "8", text)


@pytest.mark.parametrize("text", ["0", "-3", "9-5"])
def test_a_length_out_of_bounds_names_the_option(text: str) -> None:
    with pytest.raises(InputError, match="--prompt-tokens"):
        workload_of(ClosedLoop(concurrency=1), "chat", text, "8")


def test_what_is_shared_is_shared_without_being_told_twice(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be brief.\n")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    content = Content(
        shared_prefix="512:0.5:4", system_prompt=tmp_path / "system.txt", json_schema=tmp_path / "schema.json"
    )
    workload = workload_of(ClosedLoop(concurrency=1), "chat", "600", "8", content)
    assert workload.shared_prefix == SharedPrefix(tokens=512, share=0.5, groups=4)
    assert (workload.cache, workload.system_prompt) == ("shared", "Be brief.")
    assert workload.json_schema == {"type": "object"}
    hot = workload_of(ClosedLoop(concurrency=1), "chat", "600", "8", Content(cache="hot", hot_prompts=3))
    assert (hot.cache, hot.hot_prompts) == ("hot", 3)


def test_a_dataset_brings_its_lengths_unless_others_are_given(tmp_path: Path) -> None:
    content = Content(dataset=tmp_path / "d.jsonl")
    workload = workload_of(ClosedLoop(concurrency=1), "chat", None, "8", content)
    assert (workload.prompt_tokens, workload.output_tokens) == (FromData(), 8)
    with pytest.raises(InputError, match="go together"):
        workload_of(ClosedLoop(concurrency=1), "chat", "5", None, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Content(shared_prefix="512"), "--shared-prefix 512: give TOKENS:SHARE"),
        (Content(shared_prefix="512:half"), "--shared-prefix 512:half"),
        (Content(shared_prefix="512:1.5"), "--shared-prefix: .*less than or equal to 1"),
        (Content(cache="shared"), "needs something that is shared"),
        (Content(system_prompt=Path("no-such-file")), "--system-prompt no-such-file: cannot be read"),
        (Content(dataset=Path("d"), english=True), "either --dataset or --english"),
        (Content(cache="hot", conversation=Conversation(turns=2)), "goes without cache: hot"),
    ],
)
def test_content_that_cannot_be_names_the_option(content: Content, words: str) -> None:
    with pytest.raises(InputError, match=words):
        workload_of(ClosedLoop(concurrency=1), "chat", "600", "8", content)
