"""Why a cell failed, in a word: what a person filters by, and what decides whether another launch makes sense."""

from enum import StrEnum


class FailureClass(StrEnum):
    """The classes that a log, an exit status or an error of ours is read as. `unknown` where nothing tells."""

    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED_ARCHITECTURE = "unsupported_architecture"
    UNSUPPORTED_QUANTIZATION = "unsupported_quantization"
    WEIGHTS_MISSING = "weights_missing"
    WEIGHTS_GATED = "weights_gated"
    BAD_FLAG = "bad_flag"
    PORT_IN_USE = "port_in_use"
    DRIVER_TOO_OLD = "driver_too_old"
    COMPILE_ERROR = "compile_error"
    TIMEOUT = "timeout"
    KILLED = "killed"
    WRONG_OUTPUT = "wrong_output"
    WRONG_VERSION = "wrong_version"
    NETWORK = "network"
    DISK_FULL = "disk_full"
    CRASHED = "crashed"
    UNKNOWN = "unknown"

    @property
    def may_be_retried(self) -> bool:
        """Whether the same variant may come out otherwise on another launch: what its files or flags cause does not."""
        return self in _PASSING


_PASSING = frozenset(
    {
        FailureClass.PORT_IN_USE,
        FailureClass.TIMEOUT,
        FailureClass.KILLED,
        FailureClass.NETWORK,
        FailureClass.DISK_FULL,
        FailureClass.CRASHED,
        FailureClass.UNKNOWN,
    }
)
