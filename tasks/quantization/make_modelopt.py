"""modelopt: Hugging Face exports, and checkpoints for trtllm-build. Runs under the tool's own Python.

The transformers of that environment reads `rope_theta` and `rope_scaling`, and takes defaults where a config has
`rope_parameters` only: so they are told here.
"""

import sys
from pathlib import Path
from typing import Any

from experiments.errors import QuantizationError
from tasks.quantization.one_job import Say, answer_one_job
from tasks.quantization.rope import rope_of
from tasks.quantization.torch_model import (
    calibration_batches,
    device_of,
    forward_all,
    load_model,
    peak_gpu_bytes,
    read_config,
)

DECODERS = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "phi3": "phi3",
}
"""model_type of config.json to the decoder that TensorRT-LLM builds it as."""


def make(job: dict[str, Any], progress: Say) -> dict[str, Any]:
    """The facts hold how far the fake-quantized model's logits are from those of the weights it came from."""
    config = read_config(Path(job["folder"]))
    decoder = _decoder(job, config)
    device = device_of(job)
    progress(f"{job['what']}: loading")
    model = load_model(job["folder"], device=device, config=_config(job["folder"], config))
    facts = _quantize(model, job, device, progress) if job["scheme"] else {}
    progress(f"{job['what']}: exporting")
    _export(model, job, decoder)
    return facts | peak_gpu_bytes(device)


def _decoder(job: dict[str, Any], config: dict[str, Any]) -> str:
    found = DECODERS.get(config.get("model_type", ""), "")
    if job["format"] == "tensorrt_llm" and not found:
        raise QuantizationError(
            f"{job['folder']}: a TensorRT-LLM checkpoint of model_type {config.get('model_type')} is not made here: "
            f"only of {', '.join(DECODERS)}"
        )
    return found


def _config(folder: str, written: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    theta, scaling = rope_of(written)
    if theta is not None:
        config.rope_theta, config.rope_scaling = theta, scaling
    return config


def _quantize(model: Any, job: dict[str, Any], device: str, progress: Say) -> dict[str, Any]:
    """In place: weights and activations are fake-quantized until the export."""
    import modelopt.torch.quantization as quantization
    import torch

    batches = calibration_batches(job)
    with torch.inference_mode():
        before = model(batches[0].to(device)).logits.float()
    quantization.quantize(model, getattr(quantization, job["scheme"]), forward_all(batches, device, progress))
    with torch.inference_mode():
        after = model(batches[0].to(device)).logits.float()
    error = torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)
    if not error.isfinite():
        raise QuantizationError(f"{job['what']}: the fake-quantized model's logits are no numbers")
    return {"fake_quantized_logits_error": round(float(error), 6)}


def _export(model: Any, job: dict[str, Any], decoder: str) -> None:
    import torch
    from modelopt.torch.export import export_hf_checkpoint, export_tensorrt_llm_checkpoint

    with torch.inference_mode():
        if job["format"] == "modelopt":
            export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=job["output"])
            return
        parts = job["tensor_parallel"]
        export_tensorrt_llm_checkpoint(
            model, decoder, torch.bfloat16, export_dir=job["output"], inference_tensor_parallel=parts
        )


if __name__ == "__main__":
    sys.exit(answer_one_job(make))
