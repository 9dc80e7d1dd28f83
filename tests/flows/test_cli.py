"""How the command ends: its exit code, and what it says instead of a traceback."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from experiments.errors import EXIT_INTERRUPTED, EXIT_SETUP
from flows import cli

STOPPED_WITHIN_EXEC = """
from flows import cli

def app(standalone_mode):
    exec("import os, signal\\nos.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass")

cli.app = app
cli.main()
"""


def ended(command: object, monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of main() around this command; the handlers of signals are put back."""
    monkeypatch.setattr(cli, "app", command)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return exit_.value.code


def test_ctrl_c_exits_with_130_wherever_it_comes_and_in_a_background_job_too() -> None:
    deaf = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell script starts its background jobs
    try:
        done = subprocess.run(
            [sys.executable, "-c", STOPPED_WITHIN_EXEC], capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        signal.signal(signal.SIGINT, deaf)
    assert (done.returncode, done.stdout) == (EXIT_INTERRUPTED, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_machine_that_cannot_is_told_in_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(standalone_mode: bool) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    assert ended(command, monkeypatch) == EXIT_SETUP
    said = capsys.readouterr().err
    assert said.startswith(f"some/file: {os.strerror(number)}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "may be written"),
        (errno.EACCES, "may be written"),
        (errno.EMFILE, "ulimit"),
        (errno.ENAMETOOLONG, "shorter"),
    ],
)
def test_what_to_do_is_of_the_trouble_at_hand(
    number: int, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(standalone_mode: bool) -> None:
        raise OSError(number, "")

    assert ended(command, monkeypatch) == EXIT_SETUP
    said = capsys.readouterr().err
    assert said.startswith(f"the disk: {os.strerror(number)}; ")
    assert [word for word in ("make room", "may be written", "ulimit", "shorter") if word in said] == [advice]


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(standalone_mode: bool) -> None:
        raise OSError(errno.EBADF, "a descriptor that we mixed up")

    with pytest.raises(OSError, match="mixed up"):
        ended(command, monkeypatch)
