"""What an engine says while it runs, told at a rate that people and Prefect's database can bear."""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.redaction import redacted

EVERY_S = 5.0
MOST_LINES = 20
_MOST_BYTES = 64 * 1024
_LONGEST_LINE = 400


@contextlib.contextmanager
def engine_logs_told(
    folder: Path, pattern: str, say: Callable[[str], None], *, every_s: float = EVERY_S, most_lines: int = MOST_LINES
) -> Iterator[None]:
    """While the block runs, what is added to the files of that pattern is said without secrets: at most so many lines
    in so many seconds, the last ones, with the number of those left out. The files hold everything."""
    over = threading.Event()
    sizes = {file: file.stat().st_size for file in folder.glob(pattern)}
    # Loggers find in their context which run a line belongs to, and a thread begins with an empty one.
    context, tell = contextvars.copy_context(), functools.partial(_tell, folder, pattern, say, every_s, most_lines)
    teller = threading.Thread(target=context.run, args=(tell, over, sizes), name="engine-log", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(
    folder: Path,
    pattern: str,
    say: Callable[[str], None],
    every_s: float,
    most_lines: int,
    over: threading.Event,
    sizes: dict[Path, int],
) -> None:
    is_over = False
    while not is_over:
        is_over = over.wait(every_s)
        for file in sorted(folder.glob(pattern)):
            for line in _news(file, sizes, most_lines):
                say(line)


def _news(file: Path, sizes: dict[Path, int], most_lines: int) -> list[str]:
    """A half line waits for its end."""
    start = sizes.get(file, 0)
    with file.open("rb") as opened:
        opened.seek(start)
        found = opened.read()
    whole = found[: found.rfind(b"\n") + 1]
    sizes[file] = start + len(whole)
    lines = [line for line in whole[-_MOST_BYTES:].decode(errors="replace").splitlines() if line.strip()]
    left_out = len(lines) - most_lines
    head = [f"… {left_out} lines more in {file.name}"] if left_out > 0 else []
    return head + [str(redacted(line[:_LONGEST_LINE])) for line in lines[-most_lines:]]
