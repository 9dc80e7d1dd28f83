"""The process that makes a GGUF file: `python -m tasks.quantization.worker`, one job as a line of JSON on stdin.

It is a process of its own because a library that was never promised is called in it, which may crash, and because the
weights that it reads are memory.
"""

import sys
from pathlib import Path
from typing import Any

from tasks.quantization.file_types import FILE_TYPES
from tasks.quantization.ggml import GgmlQuantizer
from tasks.quantization.gguf_file import GgufQuantizer, Quantizer, write_gguf
from tasks.quantization.llama import read_llama
from tasks.quantization.one_job import Say, answer_one_job
from tasks.quantization.verify import verify_gguf


def make_gguf(job: dict[str, Any], progress: Say) -> dict[str, Any]:
    """Writes job["output"] and reads it again; the facts of the file."""
    file_type = FILE_TYPES[job["file_type"]]
    model = read_llama(Path(job["folder"]))
    quantizer: Quantizer = GgmlQuantizer(Path(job["library"])) if job["library"] else GgufQuantizer()
    output = Path(job["output"])
    facts = write_gguf(output, model, file_type, quantizer, progress=progress)
    progress(f"{file_type.name}: reading it again")
    return {**facts, "relative_rmse": verify_gguf(output, model, file_type)}


if __name__ == "__main__":
    sys.exit(answer_one_job(make_gguf))
