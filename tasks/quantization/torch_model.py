"""What the programs under a tool's Python share: a model in BF16, calibration tokens, the save. torch is imported late,
since dyno's own Python has none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError


def device_of(job: dict[str, Any]) -> str:
    """cpu or cuda, as the job says. Raises QuantizationError where torch cannot use the GPU that is there."""
    import torch

    if job["device"] == "cuda" and not torch.cuda.is_available():
        raise QuantizationError(
            f"this machine has an NVIDIA GPU, and torch {torch.__version__} in {job['what']}'s environment cannot use "
            "it: is the driver recent enough? CUDA_VISIBLE_DEVICES= (empty) quantizes on the CPU."
        )
    return str(job["device"])


def load_model(folder: str, *, device: str, **options: Any) -> Any:
    """The causal language model of a folder, in BF16. No code that comes with a model is ever run here."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, torch_dtype=torch.bfloat16, device_map=device, trust_remote_code=False, **options
        )
    except (ValueError, KeyError) as error:
        raise QuantizationError(f"transformers cannot load {folder}: {error}") from error
    return model.eval()


def calibration_batches(job: dict[str, Any]) -> list[Any]:
    """Sequences of token ids, each a batch of one. The text is cut here and never by the tokenizer: a truncation that
    it is told would stay in tokenizer.json, and cut every prompt at the length of calibration."""
    import torch
    from tokenizers import Tokenizer

    asked = job["calibration"]
    file = Path(job["folder"]) / "tokenizer.json"
    if not file.is_file():
        raise QuantizationError(f"{file}: not there; a calibration needs it")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.encode(asked["text"], add_special_tokens=False).ids
    width = asked["tokens"]
    starts = range(0, min(len(ids) - width + 1, asked["sequences"] * width), width)
    if len(starts) < asked["sequences"]:
        raise QuantizationError(
            f"calibration data {asked['name']}: {len(ids)} tokens of this model, and {asked['sequences']} sequences of "
            f"{width} were asked for. Give a longer text, or ask for less."
        )
    return [torch.tensor([ids[start : start + width]]) for start in starts]


def forward_all(batches: list[Any], device: str, progress: Callable[[str], None]) -> Callable[[Any], None]:
    """A forward loop over the calibration data, as modelopt asks for one."""
    import torch

    def loop(model: Any) -> None:
        with torch.inference_mode():
            for number, batch in enumerate(batches):
                if number % 8 == 0:
                    progress(f"calibrating: {number} of {len(batches)} sequences")
                model(batch.to(device))

    return loop


def peak_gpu_bytes(device: str) -> dict[str, int]:
    """Nothing where there is no GPU: it is no number then."""
    import torch

    return {"quantize_peak_gpu_bytes": torch.cuda.max_memory_allocated()} if device == "cuda" else {}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json."""
    return dict(json.loads((folder / "config.json").read_bytes()))
