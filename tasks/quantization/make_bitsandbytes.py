"""bitsandbytes: NF4 and INT8, saved before any forward pass. Runs under the tool's own Python.

On a CPU the first forward pass of NF4 weights repacks them, and what is saved after it reloads as other numbers.
"""

import sys
from typing import Any

from tasks.quantization.one_job import Say, answer_one_job
from tasks.quantization.torch_model import device_of, load_model, peak_gpu_bytes


def make(job: dict[str, Any], progress: Say) -> dict[str, Any]:
    """Quantized while it is loaded."""
    import torch
    from transformers import BitsAndBytesConfig

    device = device_of(job)
    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    config = BitsAndBytesConfig(**(nf4 if job["scheme"] == "nf4" else {"load_in_8bit": True}))
    progress(f"{job['what']}: loading and quantizing")
    model = load_model(job["folder"], device=device, quantization_config=config)
    progress(f"{job['what']}: saving")
    model.save_pretrained(job["output"])
    return peak_gpu_bytes(device)


if __name__ == "__main__":
    sys.exit(answer_one_job(make))
