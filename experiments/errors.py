"""The errors that a person may meet, and the exit code of each.

* DynoError                  something that stops the command, said without a traceback
  x InputError          (2)  an argument or a file says something that cannot be: every problem of it at once
    - AnotherSystem          what is here is not what was measured, and comparing the two would say nothing of it
  x SetupError          (3)  the machine, the network or the store lacks what the work needs
    - DownloadError          a model's source did not give it
    - QuantizationError      a checkpoint could not be made, or is not what was asked for
    - BuildError             an engine could not be compiled, or its environment not made
    - PullError              an engine's image could not be had
    - LaunchError            a server did not become ready
      + WrongVersion         it is another release than the one that was asked for
  x MeasurementError    (4)  a server ran, and the measurement of it did not succeed
    - ServerDied             the server ended while it was measured
    - WrongAnswer            the server answers, but not what was asked of it
  x PublishError        (3)  results are on disk, and the tracking store did not take them

Ctrl-C exits with 130.
"""

from dataclasses import dataclass

from experiments.schema.failure import FailureClass

EXIT_OK = 0
EXIT_INPUT = 2
EXIT_SETUP = 3
EXIT_MEASUREMENT = 4
EXIT_INTERRUPTED = 130

SETUP_STAGES = frozenset({"download", "environment", "quantize", "build", "pull", "launch"})
"""What fails there exits with 3."""


class DynoError(Exception):
    """What, where and what to do; `stage` names the stage of the pipeline, `log_excerpt` the engine's last words.

    `failure_class` is what the code that raises it knows of the cause, or the symptom that it saw. `exit_status` is
    that of a server that has ended (128 + n: by signal n), `oom_killed` whether the kernel ended one for its memory
    while it ran."""

    exit_code = EXIT_SETUP
    stage = ""
    failure_class: FailureClass | None = None

    def __init__(
        self,
        message: str,
        *,
        log_excerpt: str = "",
        failure_class: FailureClass | None = None,
        exit_status: int | None = None,
        oom_killed: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.log_excerpt = log_excerpt
        self.failure_class = failure_class or self.failure_class
        self.exit_status = exit_status
        self.oom_killed = oom_killed

    def __reduce__(self) -> tuple[object, ...]:
        # Prefect pickles exceptions into states; keyword-only arguments need telling.
        facts = {"failure_class": self.failure_class, "exit_status": self.exit_status, "oom_killed": self.oom_killed}
        return (_rebuild, (type(self), self.message, self.log_excerpt, facts))


def _rebuild(kind: type[DynoError], message: str, log_excerpt: str, facts: dict[str, object]) -> DynoError:
    error = kind(message, log_excerpt=log_excerpt)
    vars(error).update(facts)
    return error


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: `where` is a key path such as `variants[2].quantization`."""

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.what) if part)


class InputError(DynoError):
    """All problems of what a person wrote."""

    exit_code = EXIT_INPUT

    def __init__(self, message: str = "", *, problems: tuple[Problem, ...] = (), log_excerpt: str = "") -> None:
        super().__init__(message or "\n".join(map(str, problems)), log_excerpt=log_excerpt)
        self.problems = problems


class AnotherSystem(InputError):
    """What is here is not what was measured."""


class SetupError(DynoError):
    """The machine, the network or the store lacks what the work needs."""


class DownloadError(SetupError):
    """A model's source did not give it."""

    stage = "download"


class QuantizationError(SetupError):
    """A checkpoint could not be made, or is not what was asked for."""

    stage = "quantize"


class BuildError(SetupError):
    """An engine could not be compiled, or its environment not made."""

    stage = "build"


class PullError(SetupError):
    """An engine's image could not be had."""

    stage = "pull"


class LaunchError(SetupError):
    """A server did not become ready."""

    stage = "launch"


class WrongVersion(LaunchError):
    """What was started is another release than the one that was asked for: its numbers would bear another's name."""

    failure_class = FailureClass.WRONG_VERSION


class MeasurementError(DynoError):
    """A server ran, and the measurement of it did not succeed."""

    exit_code = EXIT_MEASUREMENT
    stage = "load sweep"


class ServerDied(MeasurementError):
    """The server ended while it was measured."""


class WrongAnswer(MeasurementError):
    """The server answers, but not what was asked of it."""

    stage = "warm up"
    failure_class = FailureClass.WRONG_OUTPUT


class PublishError(DynoError):
    """Results are on disk, and the tracking store did not take them."""

    stage = "publish"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a termination. Python ends itself by SIGINT, whatever exit code it is told, once a KeyboardInterrupt of
    that very type has passed through exec(), as it does in the middle of an import of dataclasses."""


def hidden_stop(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C or termination that an exception hides: the one in whose handling it was raised, at any depth."""
    while error is not None and isinstance(error, Exception):
        error = error.__cause__ or error.__context__
    return error
