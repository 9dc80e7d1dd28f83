"""Ways to break a real engine, each with the class that its failure has to come out with."""

import contextlib
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine_adapters.base import LaunchSpec
from experiments.schema.failure import FailureClass
from tasks.serving.server import HOST

Files = Callable[[Path], None]
Change = Callable[[LaunchSpec], LaunchSpec]
TAKEN = "{taken port}"
"""As an argument: the number of a port that somebody listens on."""


def nothing(_: Path) -> None:
    """The model's files stay as they are."""


@dataclass(frozen=True)
class Breakage:
    """`how` says it in words, for the table in tests/tasks/serving/logs. `files` breaks the model's files (a copy),
    `more` are further arguments, `memory_gib` bounds the address space."""

    engine: str
    name: str
    failure_class: FailureClass
    how: str
    files: Files = nothing
    more: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    memory_gib: float = 0.0
    start_timeout_s: float = 120.0

    def spec(self, spec: LaunchSpec) -> LaunchSpec:
        """The launch as it is to fail."""
        limit = ("prlimit", f"--as={int(self.memory_gib * 2**30)}", "--") if self.memory_gib else ()
        argv = (*limit, *spec.argv, *self.more)
        timeout_s = min(self.start_timeout_s, spec.start_timeout_s)
        return replace(spec, argv=argv, env=(*spec.env, *self.env), start_timeout_s=timeout_s)


@contextlib.contextmanager
def port_taken(spec: LaunchSpec) -> Iterator[LaunchSpec]:
    """The same launch, where it asks for TAKEN, with a port on which this process listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        yield replace(spec, argv=tuple(port if word == TAKEN else word for word in spec.argv))


def broken_copy(model: Path, folder: Path, files: Files) -> Path:
    """A copy of a GGUF file, or of a model's folder, that `files` has had its way with."""
    target = folder / model.name
    copy = shutil.copytree if model.is_dir() else shutil.copyfile
    copy(model, target)
    files(target)
    return target


def config(**changes: object) -> Files:
    """Other words in config.json."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def without(name: str) -> Files:
    """A file less."""
    return lambda folder: (folder / name).unlink()


def cut(name: str = "") -> Files:
    """The first half of a file: the folder's `name`, or the file itself."""

    def change(path: Path) -> None:
        file = path / name if name else path
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])

    return change


def overwritten(old: bytes, new: bytes) -> Files:
    """Other bytes in place of the first that are like those."""

    def change(file: Path) -> None:
        data = file.read_bytes()
        assert len(old) == len(new)
        assert old in data
        file.write_bytes(data.replace(old, new, 1))

    return change


def text(content: str) -> Files:
    """A file that is something else altogether."""

    def change(file: Path) -> None:
        file.write_text(content)

    return change


def no_folder(folder: Path) -> None:
    """Nothing is there."""
    shutil.rmtree(folder)


def no_file(file: Path) -> None:
    """Nothing is there."""
    file.unlink()


def tensor_of_type(name: bytes, number: int) -> Files:
    """A GGUF file that says of a tensor of one dimension that it is of a type by that number."""

    def change(file: Path) -> None:
        data = bytearray(file.read_bytes())
        at = data.index(name) + len(name) + 4 + 8  # behind the number of dimensions, and the one dimension
        data[at : at + 4] = number.to_bytes(4, "little")
        file.write_bytes(data)

    return change


C = FailureClass
UNKNOWN_MODEL = config(model_type="mamba9000", architectures=["Mamba9000ForCausalLM"])
UNKNOWN_METHOD = config(quantization_config={"quant_method": "quip9", "bits": 3})

LLAMA_CPP = (
    ("weights_missing", C.WEIGHTS_MISSING, "the GGUF file is gone", {"files": no_file}),
    ("weights_missing-truncated", C.WEIGHTS_MISSING, "the first half of the GGUF file", {"files": cut()}),
    ("weights_missing-no_gguf", C.WEIGHTS_MISSING, "a text file in place of GGUF", {"files": text("hello\n" * 99)}),
    (
        "unsupported_architecture",
        C.UNSUPPORTED_ARCHITECTURE,
        "general.architecture = mamba",
        {
            "files": overwritten(
                b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama",
                b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00lxama",
            )
        },
    ),
    (
        "unsupported_quantization",
        C.UNSUPPORTED_QUANTIZATION,
        "output_norm.weight of the type 200",
        {"files": tensor_of_type(b"output_norm.weight", 200)},
    ),
    (
        "out_of_memory",
        C.OUT_OF_MEMORY,
        "a context of 4 million tokens in an address space of 1 GiB",
        {"memory_gib": 1.0, "more": ("--context", "4000000")},
    ),
    ("bad_flag", C.BAD_FLAG, "--no-such", {"more": ("--no-such",)}),
    ("bad_flag-value", C.BAD_FLAG, "--kv-type q9", {"more": ("--kv-type", "q9")}),
    ("port_in_use", C.PORT_IN_USE, "a port that is taken", {"more": ("--port", TAKEN)}),
    ("timeout", C.TIMEOUT, "0.05 s to start", {"start_timeout_s": 0.05}),
)
TRANSFORMERS = (
    ("weights_missing", C.WEIGHTS_MISSING, "no model.safetensors", {"files": without("model.safetensors")}),
    ("weights_missing-folder", C.WEIGHTS_MISSING, "no folder", {"files": no_folder}),
    ("weights_missing-truncated", C.WEIGHTS_MISSING, "half of model.safetensors", {"files": cut("model.safetensors")}),
    (
        "unsupported_architecture",
        C.UNSUPPORTED_ARCHITECTURE,
        "config.json: model_type mamba9000",
        {"files": UNKNOWN_MODEL},
    ),
    (
        "unsupported_quantization-package",
        C.UNSUPPORTED_QUANTIZATION,
        "config.json: quant_method awq, whose package is not there",
        {"files": config(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})},
    ),
    (
        "unsupported_quantization-bnb",
        C.UNSUPPORTED_QUANTIZATION,
        "--quantization bnb-4bit",
        {"more": ("--quantization", "bnb-4bit")},
    ),
    (
        "out_of_memory",
        C.OUT_OF_MEMORY,
        "--cb-num-blocks 9000000 in an address space of 8 GiB",
        {"memory_gib": 8.0, "more": ("--cb-num-blocks", "9000000")},
    ),
    ("out_of_memory-limit", C.OUT_OF_MEMORY, "an address space of 1.2 GiB", {"memory_gib": 1.2}),
    ("bad_flag", C.BAD_FLAG, "--no-such", {"more": ("--no-such",)}),
    ("bad_flag-value", C.BAD_FLAG, "--dtype int9", {"more": ("--dtype", "int9")}),
    ("port_in_use", C.PORT_IN_USE, "a port that is taken", {"more": ("--port", TAKEN)}),
    ("timeout", C.TIMEOUT, "0.5 s to start", {"start_timeout_s": 0.5}),
)
MLX = (
    (
        "weights_missing",
        C.WEIGHTS_MISSING,
        "no model.safetensors",
        {"files": without("model.safetensors"), "start_timeout_s": 20.0},
    ),
    ("weights_missing-folder", C.WEIGHTS_MISSING, "no folder", {"files": no_folder, "start_timeout_s": 20.0}),
    (
        "weights_missing-truncated",
        C.WEIGHTS_MISSING,
        "half of model.safetensors",
        {"files": cut("model.safetensors"), "start_timeout_s": 20.0},
    ),
    (
        "unsupported_architecture",
        C.UNSUPPORTED_ARCHITECTURE,
        "config.json: model_type mamba9000",
        {"files": UNKNOWN_MODEL, "start_timeout_s": 20.0},
    ),
    (
        "unsupported_quantization",
        C.UNSUPPORTED_QUANTIZATION,
        "config.json: quant_method awq of 3 bits",
        {"files": config(quantization_config={"quant_method": "awq", "bits": 3}), "start_timeout_s": 20.0},
    ),
    ("out_of_memory", C.OUT_OF_MEMORY, "an address space of 0.3 GiB", {"memory_gib": 0.3, "start_timeout_s": 20.0}),
    ("bad_flag", C.BAD_FLAG, "--no-such", {"more": ("--no-such",), "start_timeout_s": 20.0}),
    ("port_in_use", C.PORT_IN_USE, "a port that is taken", {"more": ("--port", TAKEN), "start_timeout_s": 20.0}),
    ("timeout", C.TIMEOUT, "0.2 s to start", {"start_timeout_s": 0.2}),
)
VLLM_CPU = (
    (
        "unsupported_architecture",
        C.UNSUPPORTED_ARCHITECTURE,
        "config.json: model_type mamba9000",
        {"files": UNKNOWN_MODEL},
    ),
    (
        "unsupported_architecture-class",
        C.UNSUPPORTED_ARCHITECTURE,
        "config.json: architectures Mamba9000ForCausalLM",
        {"files": config(architectures=["Mamba9000ForCausalLM"])},
    ),
    (
        "unsupported_quantization",
        C.UNSUPPORTED_QUANTIZATION,
        "--quantization bitsandbytes",
        {"more": ("--quantization", "bitsandbytes")},
    ),
    (
        "unsupported_quantization-kernel",
        C.UNSUPPORTED_QUANTIZATION,
        "--quantization fp8",
        {"more": ("--quantization", "fp8")},
    ),
    (
        "unsupported_quantization-method",
        C.UNSUPPORTED_QUANTIZATION,
        "config.json: quant_method quip9",
        {"files": UNKNOWN_METHOD},
    ),
    ("weights_missing", C.WEIGHTS_MISSING, "no model.safetensors", {"files": without("model.safetensors")}),
    ("weights_missing-folder", C.WEIGHTS_MISSING, "no folder", {"files": no_folder}),
    ("weights_missing-truncated", C.WEIGHTS_MISSING, "half of model.safetensors", {"files": cut("model.safetensors")}),
    (
        "out_of_memory",
        C.OUT_OF_MEMORY,
        "VLLM_CPU_KVCACHE_SPACE=900",
        {"env": (("VLLM_CPU_KVCACHE_SPACE", "900"),), "memory_gib": 60.0},
    ),
    (
        "out_of_memory-context",
        C.OUT_OF_MEMORY,
        "--max-model-len beyond the KV cache",
        {"files": config(max_position_embeddings=90000000), "more": ("--max-model-len", "50000000")},
    ),
    ("out_of_memory-limit", C.OUT_OF_MEMORY, "an address space of 3 GiB", {"memory_gib": 3.0}),
    ("bad_flag", C.BAD_FLAG, "--no-such", {"more": ("--no-such",)}),
    ("bad_flag-value", C.BAD_FLAG, "--max-model-len beyond the model's", {"more": ("--max-model-len", "99999")}),
    (
        "bad_flag-parallel",
        C.BAD_FLAG,
        "--tensor-parallel-size 4 on two cores",
        {"more": ("--tensor-parallel-size", "4")},
    ),
    ("port_in_use", C.PORT_IN_USE, "a port that is taken", {"more": ("--port", TAKEN)}),
    (
        "compile_error",
        C.COMPILE_ERROR,
        "--no-enforce-eager, and CXX that is no compiler",
        {"more": ("--no-enforce-eager",), "env": (("CXX", "/bin/false"), ("CC", "/bin/false"))},
    ),
    ("timeout", C.TIMEOUT, "3 s to start", {"start_timeout_s": 3.0}),
)
BREAKAGES = [
    Breakage(engine, name, failure_class, how, **fields)
    for engine, rows in (
        ("llama_cpp", LLAMA_CPP),
        ("mlx_lm", MLX),
        ("transformers_serve", TRANSFORMERS),
        ("vllm_cpu", VLLM_CPU),
    )
    for name, failure_class, how, fields in rows
]
