"""A process that makes one checkpoint: a line of JSON on stdin says what, lines of JSON on stdout say how it goes.

It answers {"progress": …}, then {"done": …} or {"error": …}, and ends when its stdin closes, so that it never outlives
who asked. It runs under dyno's Python or under a tool's own: only the standard library is imported here.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError

Say = Callable[[str], None]


def answer_one_job(make: Callable[[dict[str, Any], Say], dict[str, Any]]) -> int:
    """0 also where it failed and said so; what is no error of ours ends with its traceback."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_owner, daemon=True).start()
    try:
        facts = make(job, lambda text: _say("progress", text))
        _say("done", {**facts, "quantize_peak_bytes": peak_bytes()})
    except QuantizationError as error:
        _say("error", {"message": error.message, "errno": None})
    except OSError as error:
        _say("error", {"message": str(error), "errno": error.errno})
    return 0


def peak_bytes() -> int:
    """The most memory that this process has had at once: of this program, not of the one that it was started from."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    return 1024 * int(found[1]) if found else 0


def _say(word: str, content: object) -> None:
    # A library's progress bar may have left its line unfinished.
    sys.stdout.write("\n" + json.dumps({word: content}) + "\n")
    sys.stdout.flush()


def _end_with_the_owner() -> None:
    # Not sys.stdin: a thread that waits in it would block the end of the interpreter.
    while os.read(0, 4096):
        pass
    os._exit(1)
