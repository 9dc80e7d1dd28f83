"""The process that makes a checkpoint: `python -m tasks.quantization.worker`, one job as a line of JSON on stdin.

It is a process of its own because a library that was never promised is called in it, which may crash, and because the
weights that it reads are memory. It ends when its stdin closes, so that it never outlives who asked. It answers on
stdout in lines of JSON: {"progress": …}, then {"done": …} or {"error": …}.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError
from tasks.quantization.file_types import FILE_TYPES
from tasks.quantization.ggml import GgmlQuantizer
from tasks.quantization.gguf_file import GgufQuantizer, Quantizer, write_gguf
from tasks.quantization.llama import read_llama
from tasks.quantization.verify import verify_gguf


def main() -> int:
    """One job; 0 also where it failed and said so."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_owner, daemon=True).start()
    try:
        _say("done", make_gguf(job, progress=lambda text: _say("progress", text)))
    except QuantizationError as error:
        _say("error", {"message": error.message, "errno": None})
    except OSError as error:
        _say("error", {"message": str(error), "errno": error.errno})
    return 0


def make_gguf(job: dict[str, Any], *, progress: Callable[[str], None]) -> dict[str, Any]:
    """Writes job["output"] and reads it again; the facts of the file."""
    file_type = FILE_TYPES[job["file_type"]]
    model = read_llama(Path(job["folder"]))
    quantizer: Quantizer = GgmlQuantizer(Path(job["library"])) if job["library"] else GgufQuantizer()
    output = Path(job["output"])
    facts = write_gguf(output, model, file_type, quantizer, progress=progress)
    progress(f"{file_type.name}: reading it again")
    return {**facts, "relative_rmse": verify_gguf(output, model, file_type)}


def _say(word: str, content: object) -> None:
    sys.stdout.write(json.dumps({word: content}) + "\n")
    sys.stdout.flush()


def _end_with_the_owner() -> None:
    # Not sys.stdin: a thread that waits in it would block the end of the interpreter.
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
