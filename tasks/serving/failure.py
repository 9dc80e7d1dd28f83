"""What a failure is called: read from the log first, then from how the server ended, then from what was raised. Pure.

A log is read line by line: first by the engine's own patterns, then by those that all engines share. Of the lines that
a pattern fits the last one counts, since what came after it is what it caused.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import EDQUOT, ENOMEM, ENOSPC

from engine_adapters.base import FailurePattern
from experiments.errors import BuildError, DownloadError, ServerDied
from experiments.redaction import redacted
from experiments.schema.failure import FailureClass as Class

LINE_CHARACTERS, OVERLAP = 2000, 200
"""A longer line is read in pieces that overlap, so that no expression runs over a megabyte."""

LINES_BEFORE, LINES_AFTER, SHOWN_CHARACTERS = 5, 9, 400

SYMPTOMS = frozenset({Class.TIMEOUT, Class.WRONG_OUTPUT, Class.CRASHED, Class.KILLED})
"""What is seen from outside: the log may name its cause."""

COMMON = tuple(
    FailurePattern(pattern, failure_class)
    for failure_class, pattern in (
        (Class.DRIVER_TOO_OLD, r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"),
        (Class.DRIVER_TOO_OLD, r"unsupported toolchain|forward compatibility was attempted on non supported HW"),
        (Class.DRIVER_TOO_OLD, r"CUDA_ERROR_(SYSTEM_DRIVER_MISMATCH|COMPAT_NOT_SUPPORTED|UNSUPPORTED_PTX_VERSION)"),
        (Class.OUT_OF_MEMORY, r"(CUDA|HIP|XPU) out of memory|OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY"),
        (Class.OUT_OF_MEMORY, r"cudaErrorMemoryAllocation|CUDA error: out of memory|std::bad_alloc"),
        (Class.OUT_OF_MEMORY, r"^(\S+ )?MemoryError\b|Cannot allocate memory|DefaultCPUAllocator: (can't|not enough)"),
        (Class.OUT_OF_MEMORY, r"memory allocation of \d+ bytes failed|Malloc failed: out of memory"),
        (Class.OUT_OF_MEMORY, r"Out of memory: Killed process|oom-kill|Memory cgroup out of memory"),
        (Class.DISK_FULL, r"No space left on device|Disk quota exceeded"),
        (Class.PORT_IN_USE, r"Address already in use|EADDRINUSE|address already in use"),
        (Class.BAD_FLAG, r"error: (unrecognized arguments|argument |the following arguments are required)"),
        (Class.BAD_FLAG, r"error: (unexpected argument|invalid value)|(No such|no such|unknown|unrecognized) option"),
        (Class.BAD_FLAG, r"attention heads .{1,20} must be divisible by tensor parallel size"),
        (
            Class.WEIGHTS_GATED,
            r"GatedRepoError|gated repo|(401|403) Client Error|Access to model .{1,200} is restricted",
        ),
        (Class.WEIGHTS_MISSING, r"RepositoryNotFoundError|EntryNotFoundError|404 Client Error|SafetensorError"),
        (Class.WEIGHTS_MISSING, r"OSError: .{1,300} does not appear to have a file named"),
        (Class.WEIGHTS_MISSING, r"Repo id must be (in the form|a string)|HFValidationError: Repo id must"),
        (Class.UNSUPPORTED_ARCHITECTURE, r"does not recognize this architecture|[Uu]nknown model architecture"),
        (Class.UNSUPPORTED_ARCHITECTURE, r"requires? you to execute the .{0,80}in that repo|`trust_remote_code=True`"),
        (Class.UNSUPPORTED_QUANTIZATION, r"[Uu]nknown quantization method"),
        (Class.UNSUPPORTED_QUANTIZATION, r"Bfloat16 is only supported on GPUs with compute capability"),
        (Class.COMPILE_ERROR, r"InductorError|CppCompileError|nvcc fatal|ptxas fatal|ninja: build stopped"),
        (Class.CRASHED, r"CUDA error:|illegal memory access|Segmentation fault|core dumped|NCCL error"),
        (Class.CRASHED, r"Fatal Python error|SIGSEGV|SIGABRT"),
        (Class.KILLED, r"^Killed$|SIGKILL|killed by signal 9"),
    )
)

INSTALLING = tuple(
    FailurePattern(pattern, failure_class)
    for failure_class, pattern in (
        (
            Class.NETWORK,
            r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|name resolution|Max retries exceeded",
        ),
        (Class.WRONG_VERSION, r"No matching distribution found|Could not find a version"),
        (Class.COMPILE_ERROR, r"Failed building wheel|Failed to build|metadata-generation-failed"),
    )
)
"""What pip says: a release that no index has cannot be the one that was asked for."""

RAISED = {
    "GatedRepoError": Class.WEIGHTS_GATED,
    "RepositoryNotFoundError": Class.WEIGHTS_MISSING,
    "RevisionNotFoundError": Class.WEIGHTS_MISSING,
    "EntryNotFoundError": Class.WEIGHTS_MISSING,
    "OfflineModeIsEnabled": Class.NETWORK,
    "ConnectError": Class.NETWORK,
    "ConnectTimeout": Class.NETWORK,
    "ReadError": Class.NETWORK,
    "ReadTimeout": Class.NETWORK,
    "RemoteProtocolError": Class.NETWORK,
}
"""By name: huggingface-hub brings an HTTP client of its own."""

STATUSES = {401: Class.WEIGHTS_GATED, 403: Class.WEIGHTS_GATED, 404: Class.WEIGHTS_MISSING, 429: Class.NETWORK}

SIGNALS = {1: Class.KILLED, 2: Class.KILLED, 9: Class.KILLED, 15: Class.KILLED}
"""Sent from outside; any other signal is the program's own doing."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`line` is the one that names the cause; "" where no log does."""

    failure_class: Class
    line: str = ""


def classify(
    error: Exception,
    log_tail: str,
    exit_status: int | None,
    oom_killed: bool,
    patterns: Iterable[FailurePattern],
) -> Failure:
    """The name of a failure. `log_tail` is what there is of the server's log, `exit_status` is 128 + n where signal n
    ended it, and `oom_killed` says whether the kernel ended a process for its memory meanwhile."""
    told = getattr(error, "failure_class", None)
    if told is not None and told not in SYMPTOMS:
        return Failure(told)
    if oom_killed and exit_status == 128 + 9:
        return Failure(Class.OUT_OF_MEMORY)
    found = _named(_lines(log_tail), (*patterns, *COMMON)) or _of_setup(error) or _of_causes(error)
    by_itself = exit_status is None or exit_status <= 128  # as a server does whose worker the kernel has ended
    if oom_killed and by_itself and (found is None or found.failure_class in SYMPTOMS):
        return Failure(Class.OUT_OF_MEMORY)
    return found or Failure(told or _ending(error, exit_status))


def excerpt(log: str, line: str) -> str:
    """The lines around the one that names the cause, or the last ones, without secrets and without what a terminal
    would act upon."""
    lines = [_clean(each) for each in log.splitlines()]
    wanted = [index for index, each in enumerate(lines) if line and line in each]
    first = max(0, wanted[-1] - LINES_BEFORE) if wanted else max(0, len(lines) - LINES_BEFORE - LINES_AFTER - 1)
    chosen = lines[first : first + LINES_BEFORE + LINES_AFTER + 1]
    return "\n".join(_around(str(redacted(each)), str(redacted(line))) for each in chosen)


def _around(line: str, decisive: str) -> str:
    """What fits of a long line, the decisive part in it."""
    start = max(0, line.find(decisive[:SHOWN_CHARACTERS])) if decisive else 0
    return line if len(line) <= SHOWN_CHARACTERS else line[start : start + SHOWN_CHARACTERS]


def _lines(log: str) -> list[str]:
    return [piece for line in log.splitlines() for piece in _pieces(_clean(line))]


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, max(1, len(line)), LINE_CHARACTERS - OVERLAP):
        yield line[start : start + LINE_CHARACTERS]


_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]|\ufffd+")


def _clean(line: str) -> str:
    return _TERMINAL.sub("", line).rstrip()


def _named(lines: list[str], patterns: Iterable[FailurePattern]) -> Failure | None:
    for pattern in patterns:
        expression = re.compile(pattern.pattern)
        for line in reversed(lines):
            if found := expression.search(line):
                return Failure(pattern.failure_class, line if len(line) < LINE_CHARACTERS else line[found.start() :])
    return None


def _of_setup(error: Exception) -> Failure | None:
    """By what an installer said."""
    if not isinstance(error, BuildError):
        return None
    return _named([*_lines(error.log_excerpt), *_lines(str(error))], (*INSTALLING, *COMMON))


def _of_causes(error: BaseException | None) -> Failure | None:
    """By the kind of what was raised, or of what that was raised from."""
    while error is not None:
        failure_class = _of_kind(error)
        if failure_class is not None:
            return Failure(failure_class)
        error = error.__cause__
    return None


def _of_kind(error: BaseException) -> Class | None:
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == ENOMEM:
        return Class.OUT_OF_MEMORY
    if number in (ENOSPC, EDQUOT):
        return Class.DISK_FULL
    named = next((RAISED[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in RAISED), None)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if named is None and isinstance(status, int):
        return STATUSES.get(status, Class.NETWORK if status >= 500 else None)
    return Class.NETWORK if named is None and isinstance(error, ConnectionError | TimeoutError) else named


def _ending(error: Exception, exit_status: int | None) -> Class:
    """By how the server ended, where it did, and by the stage where nothing else tells."""
    if exit_status is not None:
        return SIGNALS.get(exit_status - 128, Class.CRASHED)
    if isinstance(error, DownloadError):
        return Class.WEIGHTS_MISSING
    return Class.CRASHED if isinstance(error, ServerDied) else Class.UNKNOWN
