"""llama.cpp's own quantizer: `ggml_quantize_chunk` of the library that the engine's package carries.

The symbol is exported, not promised. A crash in the library ends the process that called it: only
tasks/quantization/worker.py does, and that is a process of its own.
"""

import base64
import ctypes
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PathDistribution
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.errors import QuantizationError
from tasks.quantization.file_types import BLOCK_BYTES, BLOCK_WEIGHTS

Bytes = npt.NDArray[np.uint8]

PACKAGE = "xllamacpp"
GGML_TYPE = {"Q4_0": 2, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
"""enum ggml_type."""


@dataclass(frozen=True, slots=True)
class LibraryIdentity:
    """Which library it was; part of the key of what it makes."""

    package: str
    version: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def find_ggml_library(site_packages: Path) -> Path:
    """The compiled library of xllamacpp in an engine's environment. Raises QuantizationError where there is none."""
    for pattern in ("*.so", "*.dylib", "*.pyd"):
        for path in sorted((site_packages / PACKAGE).glob(pattern)):
            return path
    raise QuantizationError(
        f"{site_packages}: no compiled library of {PACKAGE} there. The quantizer of llama.cpp is part of that package: "
        "make the engine's environment first."
    )


def identify(library: Path) -> LibraryIdentity:
    """From the package's own record, so that a library of 100 MB is not hashed at each start; hashed without one."""
    distribution = _distribution(library.parents[1])
    if distribution is None:
        return LibraryIdentity(library.name, "", _hashed(library))
    for file in distribution.files or ():
        if file.name == library.name and file.hash is not None:
            digest = base64.urlsafe_b64decode(file.hash.value + "==").hex()
            return LibraryIdentity(PACKAGE, distribution.version, digest)
    return LibraryIdentity(PACKAGE, distribution.version, _hashed(library))


def _distribution(site_packages: Path) -> Distribution | None:
    for path in site_packages.glob(f"{PACKAGE}-*.dist-info"):
        return PathDistribution(path)
    return None


def _hashed(library: Path) -> str:
    try:
        with library.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise QuantizationError(
            f"{library}: cannot be read ({error.strerror}). Make the engine's environment again."
        ) from error


class GgmlQuantizer:
    """Loads the library; raises QuantizationError where it cannot, or where it lacks the symbols."""

    def __init__(self, library: Path) -> None:
        try:
            loaded = ctypes.CDLL(str(library))
            self._chunk, self._init = loaded.ggml_quantize_chunk, loaded.ggml_quantize_init
        except (OSError, AttributeError) as error:
            raise QuantizationError(
                f"{library} cannot quantize: {error}. This version of {PACKAGE} may not export llama.cpp's quantizer; "
                "use another engine version, or the quantization q8_0 or f16."
            ) from error
        self._chunk.restype = ctypes.c_size_t
        self._chunk.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
        self._init.restype, self._init.argtypes = None, [ctypes.c_int]
        self._threads = os.cpu_count() or 1

    def quantize(self, rows: npt.NDArray[np.float32], kind: str) -> Bytes:
        """(rows, columns) float32 to (rows, bytes a row); the rows are shared among the cores."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        count, columns = rows.shape
        output = np.empty((count, columns // BLOCK_WEIGHTS[kind] * BLOCK_BYTES[kind]), dtype=np.uint8)
        self._init(GGML_TYPE[kind])
        edges = np.linspace(0, count, min(self._threads, count) + 1, dtype=int)
        with ThreadPoolExecutor(self._threads) as threads:
            list(threads.map(lambda at: self._slice(rows, output, kind, *at), pairwise(edges.tolist())))
        return output

    def _slice(self, rows: npt.NDArray[np.float32], output: Bytes, kind: str, first: int, last: int) -> None:
        source, target = rows[first:last], output[first:last]
        written = self._chunk(
            GGML_TYPE[kind], source.ctypes.data, target.ctypes.data, 0, last - first, rows.shape[1], None
        )
        if written != target.nbytes:
            raise QuantizationError(f"ggml wrote {written} bytes of {kind} where {target.nbytes} belong")
