"""A compiled engine is made once and is whole, whoever asks for it and is killed. The compilers are stand-ins."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine_adapters.base import BuildSpec
from experiments.errors import BuildError
from tasks.artifacts.store import ArtifactStore
from tasks.building.build import Inputs, build_engine
from tests.tasks.building.toolchains import ENGINES, TOKENIZER, artifacts, built, toolchain, variant_of

PROGRAM = Path(__file__).with_name("toolchains.py")
ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


def start(root: Path, engine: str, **env: str) -> "subprocess.Popen[str]":
    """A process of its own that builds, as another dyno would. `env` is its own, and takes no part in the key."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(root), engine],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


def wait_for(text: str, root: Path) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not any(text in log.read_text() for log in root.glob("*.log")):
        assert time.monotonic() < limit, f"{text!r} was not printed"
        time.sleep(0.01)


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "artifacts").glob(".partial-*"))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_compiled_once_and_then_found(engine: str, tmp_path: Path) -> None:
    first = built(tmp_path, engine)
    again = built(tmp_path, engine, log=tmp_path / "again.log")
    assert (first.was_made, again.was_made) == (True, False)
    assert again.entry == first.entry
    again.check(hashes=True)
    assert not leftovers(tmp_path)
    assert not (first.path / ".scratch").exists()
    assert (tmp_path / "again.log").read_text() == (tmp_path / "build.log").read_text()
    assert "STAND-IN" in (tmp_path / "again.log").read_text()


def test_an_engine_has_a_file_for_each_gpu_and_its_models_tokenizer_byte_for_byte(tmp_path: Path) -> None:
    engine = built(tmp_path, "tensorrt_llm")
    names = {path.name for path in engine.entry.iterdir() if path.is_file()}
    assert names == {"rank0.engine", "rank1.engine", "config.json", "build.log"}
    assert (engine.entry / "tokenizer" / "tokenizer.json").read_bytes() == TOKENIZER
    assert sorted(path.name for path in (engine.entry / "tokenizer").iterdir()) == ["config.json", "tokenizer.json"]


def test_what_a_build_took_is_on_record_ours_and_what_the_tool_says(tmp_path: Path) -> None:
    facts = built(tmp_path, "tensorrt_llm from its model", STAND_IN_SLEEP_S="0.2").facts
    assert [step["command"] for step in facts["steps"]] == ["convert_checkpoint.py", "trtllm-build"]
    assert facts["tool_seconds"] == 98.0
    assert facts["tool_peak_memory_bytes"] == round(1024.5 * 2**20)
    assert facts["seconds"] >= 0.2 * 4
    assert facts["peak_memory_bytes"] > 2**20
    assert "resident memory" in facts["peak_memory_is"]
    assert built(tmp_path, "mlc_llm").facts["tool_peak_memory_bytes"] == round(2.5 * 2**30)


def test_a_build_that_fails_says_so_keeps_its_log_and_leaves_nothing(tmp_path: Path) -> None:
    words = "AssertionError: Engine building failed, please check error log."
    with pytest.raises(BuildError, match=r"trtllm-build ended with status 1.*build\.log") as failed:
        built(tmp_path, "tensorrt_llm", STAND_IN_FAILS=words)
    assert words in failed.value.log_excerpt
    assert words in (tmp_path / "build.log").read_text()
    assert failed.value.exit_code == 3
    assert not leftovers(tmp_path)
    assert not [artifact for artifact in ArtifactStore(tmp_path / "artifacts").artifacts() if artifact.kind == "engine"]


def test_what_the_real_parser_would_refuse_fails_here_too(tmp_path: Path) -> None:
    """So a stand-in is no proof of its own: it takes what the release's parser takes."""
    stand_in = ROOT / "tests" / "stand_ins" / "trtllm_build.py"
    done = subprocess.run(
        [sys.executable, stand_in, "--gemm_plugin", "fp7"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--gemm_plugin takes auto, float16" in done.stdout


def test_two_processes_that_build_the_same_at_once_build_it_once(tmp_path: Path) -> None:
    both = [start(tmp_path, "mlc_llm", STAND_IN_SLEEP_S="0.2") for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in both]
    assert sorted(answer["was_made"] for answer in answers) == [False, True]
    assert len({answer["path"] for answer in answers}) == 1
    logs = [log.read_text() for log in tmp_path.glob("*.log")]
    assert len(logs) == 2
    assert logs[0] == logs[1]
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("half", ["params_shard_0.bin", "mlc-chat-config.json", "lib.so"])
def test_a_build_that_is_killed_leaves_nothing_half_and_the_next_one_is_whole(half: str, tmp_path: Path) -> None:
    killed = start(tmp_path, "mlc_llm", STAND_IN_HOLDS_AT=half)
    wait_for(f"STAND-IN writes {half}", tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE_S)
    assert not (tmp_path / "artifacts" / "engine").exists()
    engine = built(tmp_path, "mlc_llm", log=tmp_path / "after.log")
    engine.check(hashes=True)
    assert engine.was_made
    assert (engine.path / "lib.so").read_text() == "library for llama"
    assert (engine.path / "params_shard_1.bin").read_text() == "q0bf16 of 700 bytes, part 1"


def test_a_kill_ends_the_compilers_too(tmp_path: Path) -> None:
    killed = start(tmp_path, "mlc_llm", STAND_IN_HOLDS_AT="params_shard_0.bin")
    wait_for("STAND-IN writes", tmp_path)
    (pidfile,) = (tmp_path / "leases").glob("*.pid")
    compiler = Path("/proc") / pidfile.read_text()
    assert compiler.exists()
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE_S)
    limit = time.monotonic() + PATIENCE_S
    while compiler.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert not compiler.exists()


def test_who_waits_for_a_build_that_is_killed_makes_it(tmp_path: Path) -> None:
    killed = start(tmp_path, "mlc_llm", STAND_IN_HOLDS_AT="lib.so")
    wait_for("STAND-IN writes lib.so", tmp_path)
    waiting = start(tmp_path, "mlc_llm")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE_S)
    answer = json.loads(waiting.communicate(timeout=PATIENCE_S)[0])
    assert answer["was_made"]
    assert (Path(answer["path"]) / "lib.so").read_text() == "library for llama"


def test_commands_that_end_well_and_make_nothing_made_no_engine(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    spec = BuildSpec(commands=(("true",),), kind="toy engine", tokenizer_folder="tokenizer")
    with pytest.raises(BuildError, match="ended well and left nothing"):
        build_engine(
            variant_of("tensorrt_llm"),
            spec,
            Inputs(*artifacts(store)),
            store,
            toolchain(tmp_path),
            log=tmp_path / "build.log",
            say=lambda _: None,
        )
    assert not leftovers(tmp_path)
