"""llm-compressor: compressed-tensors checkpoints. Runs under the tool's own Python."""

import sys
from typing import Any

from tasks.quantization.one_job import Say, answer_one_job
from tasks.quantization.torch_model import calibration_batches, device_of, load_model, peak_gpu_bytes

LEFT_ALONE = ("lm_head", "re:.*mlp[.]gate$", "re:.*router.*", "re:.*vision.*", "re:.*multi_modal_projector.*")
"""Heads, the routers of mixtures of experts, and what sees: no engine loads them quantized."""


def make(job: dict[str, Any], progress: Say) -> dict[str, Any]:
    """Rounded to nearest, except where the recipe calibrates: that is AWQ, and a transform before the rounding."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    device = device_of(job)
    progress(f"{job['what']}: loading")
    model = load_model(job["folder"], device="cpu")  # llm-compressor moves layer by layer itself
    recipe: list[Any] = [QuantizationModifier(targets=["Linear"], scheme=job["scheme"], ignore=list(LEFT_ALONE))]
    data: dict[str, Any] = {}
    if job["calibration"]:
        from llmcompressor.modifiers.transform.awq import AWQModifier

        recipe.insert(0, AWQModifier(duo_scaling="both"))
        data = _calibration(job)
    progress(f"{job['what']}: quantizing")
    oneshot(model=model, recipe=recipe, **data)
    progress(f"{job['what']}: saving")
    model.save_pretrained(job["output"], save_compressed=True)
    return peak_gpu_bytes(device)


def _calibration(job: dict[str, Any]) -> dict[str, Any]:
    from datasets import Dataset

    rows = [{"input_ids": batch[0].tolist()} for batch in calibration_batches(job)]
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in rows]
    asked = job["calibration"]
    return {
        "dataset": Dataset.from_list(rows),
        "num_calibration_samples": asked["sequences"],
        "max_seq_length": asked["tokens"],
        "shuffle_calibration_samples": False,
    }


if __name__ == "__main__":
    sys.exit(answer_one_job(make))
