"""What a failure is called. The logs in logs/ENGINE are of real engines that were really broken; see its README."""

import errno
import random
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.errors import (
    BuildError,
    DownloadError,
    DynoError,
    InputError,
    LaunchError,
    ServerDied,
    WrongAnswer,
)
from experiments.schema.failure import FailureClass
from tasks.serving.failure import COMMON, classify, excerpt
from tasks.serving.guarded import LOG_HEAD_BYTES, LOG_TAIL_BYTES, read_log

LOGS = Path(__file__).parent / "logs"
BROKEN = sorted(file for file in LOGS.glob("*/*.txt") if file.stem != "healthy")
HEALTHY = sorted(LOGS.glob("*/healthy.txt"))
C = FailureClass


def name_of(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


@pytest.mark.parametrize("file", BROKEN, ids=name_of)
@pytest.mark.parametrize(
    "error",
    [LaunchError("it ended", exit_status=1), LaunchError("not ready", failure_class=C.TIMEOUT)],
    ids=["ended", "late"],
)
def test_a_real_log_of_a_broken_engine_names_its_class(file: Path, error: LaunchError) -> None:
    log = file.read_text()
    found = classify(error, log, error.exit_status, False, ADAPTERS[file.parent.name].failure_patterns)
    assert found.failure_class == file.stem.partition("-")[0]
    assert found.line in log
    assert found.line[:300] in excerpt(log, found.line)


@pytest.mark.parametrize("file", HEALTHY, ids=name_of)
def test_a_log_of_an_engine_that_works_names_nothing(file: Path) -> None:
    patterns = ADAPTERS[file.parent.name].failure_patterns
    assert classify(WrongAnswer("no"), file.read_text(), None, False, patterns).failure_class is C.WRONG_OUTPUT
    assert classify(ServerDied("it died"), file.read_text(), 137, False, patterns).failure_class is C.KILLED


def test_every_pattern_of_an_engine_is_proved_by_one_of_its_logs_or_says_whose_words_it_is() -> None:
    assert {file.parent.name for file in BROKEN} <= set(ADAPTERS)
    assert {file.stem.partition("-")[0] for file in BROKEN} <= set(C)


def from_hub(name: str, base: type[Exception] = Exception, *args: object, **fields: object) -> DownloadError:
    """As tasks/artifacts raises it: from an exception of huggingface-hub, known by its name only."""
    cause = type(name, (base,), {})(*args)
    vars(cause).update(fields)
    error = DownloadError("the repository did not give it")
    error.__cause__ = cause
    return error


class Answer:
    """An HTTP response, as far as it counts."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


PIP = "the environment of xllamacpp==1.0 could not be made: No matching distribution found for xllamacpp==1.0"
OURS: list[tuple[DynoError, FailureClass]] = [
    (LaunchError("not ready within 5 s", failure_class=C.TIMEOUT), C.TIMEOUT),
    (LaunchError("says it is another", failure_class=C.WRONG_VERSION), C.WRONG_VERSION),
    (LaunchError("it ended", exit_status=0), C.CRASHED),
    (LaunchError("it ended", exit_status=1), C.CRASHED),
    (LaunchError("it was killed", exit_status=137), C.KILLED),
    (LaunchError("it was killed", exit_status=143), C.KILLED),
    (LaunchError("a fault in its memory", exit_status=139), C.CRASHED),
    (LaunchError("it gave up", exit_status=134), C.CRASHED),
    (ServerDied("gone", exit_status=137), C.KILLED),
    (ServerDied("gone", exit_status=139), C.CRASHED),
    (WrongAnswer("no choices"), C.WRONG_OUTPUT),
    (WrongAnswer("all timed out", failure_class=C.TIMEOUT), C.TIMEOUT),
    (from_hub("GatedRepoError", response=Answer(403)), C.WEIGHTS_GATED),
    (from_hub("RepositoryNotFoundError", response=Answer(401)), C.WEIGHTS_MISSING),
    (from_hub("HfHubHTTPError", response=Answer(401)), C.WEIGHTS_GATED),
    (from_hub("HfHubHTTPError", response=Answer(404)), C.WEIGHTS_MISSING),
    (from_hub("HfHubHTTPError", response=Answer(503)), C.NETWORK),
    (from_hub("ConnectTimeout"), C.NETWORK),
    (from_hub("Refused", ConnectionError), C.NETWORK),
    (from_hub("Full", OSError, errno.ENOSPC, "full"), C.DISK_FULL),
    (DownloadError("the folder has no config.json"), C.WEIGHTS_MISSING),
    (BuildError(PIP), C.WRONG_VERSION),
    (BuildError(PIP, log_excerpt="WARNING: Retrying after NewConnectionError('...')"), C.NETWORK),
    (BuildError("it failed", log_excerpt="OSError: [Errno 28] No space left on device"), C.DISK_FULL),
    (InputError("w needs 257 tokens of context"), C.UNKNOWN),
]


@pytest.mark.parametrize(
    ("error", "expected"), OURS, ids=[f"{type(e).__name__}-{c}-{i}" for i, (e, c) in enumerate(OURS)]
)
def test_what_no_log_tells_follows_from_what_was_raised(error: DynoError, expected: FailureClass) -> None:
    assert classify(error, "", error.exit_status, False, ()).failure_class is expected


def test_what_python_raises_is_told_from_a_defect() -> None:
    assert classify(MemoryError(), "", None, False, ()).failure_class is C.OUT_OF_MEMORY
    assert classify(OSError(errno.ENOSPC, "full"), "", None, False, ()).failure_class is C.DISK_FULL
    assert classify(OSError(errno.EDQUOT, "quota"), "", None, False, ()).failure_class is C.DISK_FULL
    assert classify(KeyError("x"), "", None, False, ()).failure_class is C.UNKNOWN


COMMON_LINES = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": C.OUT_OF_MEMORY,
    "terminate called after throwing an instance of 'std::bad_alloc'": C.OUT_OF_MEMORY,
    "MemoryError": C.OUT_OF_MEMORY,
    "OSError: [Errno 12] Cannot allocate memory": C.OUT_OF_MEMORY,
    "[12345.6] Out of memory: Killed process 999 (python3)": C.OUT_OF_MEMORY,
    "[Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use": C.PORT_IN_USE,
    "OSError: [Errno 28] No space left on device": C.DISK_FULL,
    "api_server.py: error: unrecognized arguments: --swap-space 4": C.BAD_FLAG,
    "api_server.py: error: argument --dtype: invalid choice: 'int9'": C.BAD_FLAG,
    "huggingface_hub.errors.GatedRepoError: 403 Client Error.": C.WEIGHTS_GATED,
    "401 Client Error: Unauthorized for url": C.WEIGHTS_GATED,
    "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.": C.WEIGHTS_MISSING,
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).": C.DRIVER_TOO_OLD,
    "CUDA driver version is insufficient for CUDA runtime version": C.DRIVER_TOO_OLD,
    "RuntimeError: CUDA error: an illegal memory access was encountered": C.CRASHED,
    "RuntimeError: CUDA error: out of memory": C.OUT_OF_MEMORY,
    "torch._inductor.exc.InductorError: CppCompileError: C++ compile error": C.COMPILE_ERROR,
    "nvcc fatal   : Unsupported gpu architecture 'compute_120'": C.COMPILE_ERROR,
    "Segmentation fault (core dumped)": C.CRASHED,
    "OSError: /m does not appear to have a file named config.json. Checkout": C.WEIGHTS_MISSING,
    "ValueError: Total number of attention heads (32) must be divisible by tensor parallel size (3).": C.BAD_FLAG,
    "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your T4": C.UNSUPPORTED_QUANTIZATION,
    "alloc_buffer: allocating 13285.50 MiB on device 0: cudaMalloc failed: out of memory": C.OUT_OF_MEMORY,
    "Killed": C.KILLED,
}


@pytest.mark.parametrize(("line", "expected"), COMMON_LINES.items(), ids=range(len(COMMON_LINES)))
def test_what_every_engine_may_say_is_known(line: str, expected: FailureClass) -> None:
    log = f"starting\n{line}\nshutting down\n"
    assert classify(LaunchError("it ended", exit_status=1), log, 1, False, ()).failure_class is expected


@pytest.mark.parametrize(
    "line",
    [
        "INFO max_model_len=4096, kv cache: 12 GiB of memory",
        "WARNING timed out waiting for a client, closing the connection",
        'INFO: 127.0.0.1:1234 - "POST /v1/completions HTTP/1.1" 404 Not Found',
        'INFO: 127.0.0.1:1234 - "POST /v1/completions HTTP/1.1" 401 Unauthorized',
        "Unknown quantization type, got x. Hence, we will skip the quantization.",
        "INFO quantization=awq, dtype=bfloat16, trust_remote_code=False",
        "Killed requests: 0",
        "Failed to load generation config: m does not appear to have a file named generation_config.json. Proceeding",
    ],
)
def test_what_an_engine_says_when_all_is_well_is_no_cause(line: str) -> None:
    assert classify(ServerDied("gone", exit_status=1), line, 1, False, ()).failure_class is C.CRASHED


def test_the_engines_own_words_come_before_those_that_all_share() -> None:
    from engine_adapters.base import FailurePattern

    own = (FailurePattern(r"graph capture failed", C.COMPILE_ERROR),)
    log = "graph capture failed\nCUDA out of memory\n"
    assert classify(LaunchError("x"), log, 1, False, own).failure_class is C.COMPILE_ERROR
    assert classify(LaunchError("x"), log, 1, False, ()).failure_class is C.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("exit_status", "log", "expected"),
    [
        (137, "", C.OUT_OF_MEMORY),
        (137, "error: argument --x\n", C.OUT_OF_MEMORY),
        (1, "the worker died\n", C.OUT_OF_MEMORY),
        (139, "", C.CRASHED),
        (1, "error: unrecognized arguments: --x\n", C.BAD_FLAG),
    ],
)
def test_the_kernels_word_counts_where_the_log_names_no_cause(
    exit_status: int, log: str, expected: FailureClass
) -> None:
    error = LaunchError("it ended", exit_status=exit_status)
    assert classify(error, log, exit_status, True, ()).failure_class is expected


def test_an_excerpt_is_the_lines_around_the_cause_and_not_the_end() -> None:
    log = "\n".join([*(f"before {i}" for i in range(500)), "CUDA out of memory", *(f"after {i}" for i in range(500))])
    shown = excerpt(log, classify(LaunchError("x"), log, 1, False, ()).line).splitlines()
    assert "CUDA out of memory" in shown
    assert shown[0].startswith("before")
    assert shown[-1].startswith("after")
    assert len(shown) == 15


def test_without_a_cause_an_excerpt_is_the_end() -> None:
    assert excerpt("\n".join(map(str, range(100))), "").splitlines() == [str(i) for i in range(85, 100)]
    assert excerpt("", "") == ""


def test_an_excerpt_shows_no_secret_and_nothing_that_a_terminal_would_act_upon() -> None:
    log = "args: {'api_key': ['s3cr3t-of-mine'], 'port': 1}\nHF_TOKEN=hf_abcdefghijklmnopqrstuvwx\n"
    log += "\x1b[31mMemoryError\x1b[0m\x07\n"
    shown = excerpt(log, classify(LaunchError("x"), log, 1, False, ()).line)
    assert "s3cr3t" not in shown
    assert "hf_abc" not in shown
    assert shown.endswith("\nMemoryError")


def test_a_log_of_one_endless_line_is_read() -> None:
    log = "x" * 600_000 + " CUDA out of memory " + "y" * 600_000
    found = classify(LaunchError("x"), log, 1, False, ())
    assert found.failure_class is C.OUT_OF_MEMORY
    assert "CUDA out of memory" in excerpt(log, found.line)
    assert len(excerpt(log, found.line)) <= 400


def test_a_log_of_bytes_that_are_no_text_is_read(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    garbage = random.Random(7).randbytes(200_000)
    file.write_bytes(garbage + b"\nOSError: [Errno 28] No space left on device\n" + garbage)
    found = classify(LaunchError("x"), read_log(file), 1, False, ADAPTERS["llama_cpp"].failure_patterns)
    assert found.failure_class is C.DISK_FULL
    shown = excerpt(read_log(file), found.line)
    assert "No space left on device" in shown
    assert all(ord(each) >= 32 or each in "\n\t" for each in shown)


def test_of_a_log_of_a_gigabyte_the_beginning_and_the_end_are_read(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    with file.open("wb") as log:
        log.write(b"error: unrecognized arguments: --first\n")
        log.truncate(2**30)
        log.seek(0, 2)
        log.write(b"\nthe last line\n")
    text = read_log(file)
    assert text.startswith("error: unrecognized arguments: --first")
    assert text.endswith("the last line\n")
    assert "MiB left out" in text
    assert len(text) < LOG_HEAD_BYTES + LOG_TAIL_BYTES + 100
    assert classify(LaunchError("x"), text, 2, False, ()).failure_class is C.BAD_FLAG
    assert read_log(tmp_path / "none") == ""


def test_no_expression_takes_long_on_any_line() -> None:
    """Steps, not seconds: an expression that backtracks without end would not come back from this at all."""
    patterns = [pattern for adapter in ADAPTERS.values() for pattern in adapter.failure_patterns]
    for filler in ("a", " ", "error: ", "Access to model ", "4", "(", "CUDA "):
        line = (filler * 60_000)[:60_000]
        assert classify(LaunchError("x"), line, 1, False, (*patterns, *COMMON)).failure_class is C.CRASHED


def test_only_what_may_pass_is_retried() -> None:
    assert {each for each in C if each.may_be_retried} == {
        C.PORT_IN_USE, C.TIMEOUT, C.KILLED, C.NETWORK, C.DISK_FULL, C.CRASHED, C.UNKNOWN
    }  # fmt: skip
