"""What of a quantized checkpoint is the model's own: tokenizer, templates, and a config that says what the source says.

A tool that saves a tokenizer, or a config, writes what its release of transformers makes of it: a truncation that was
set for a calibration, a class that other releases do not have, rotary embeddings under another key.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.quantization.rope import rope_of

OF_THE_TOOL = ("config.json", "hf_quant_config.json", "quant_cfg.json", "recipe.yaml", "model.safetensors.index.json")
QUANTIZED = ("quantization_config", "tie_word_embeddings")
"""What of the tool's config.json counts: a head that was tied to the embeddings may be a tensor of its own now."""


def is_of_the_source(name: str) -> bool:
    """Whether a file of this name in a checkpoint has to be the source's own, byte for byte."""
    return not name.endswith(".safetensors") and name not in OF_THE_TOOL


def adopt_source_files(source: Path, output: Path) -> None:
    """Everything beside weights and config is the source's, and nothing else is there."""
    for path in sorted(output.iterdir()):
        if path.is_file() and is_of_the_source(path.name):
            path.unlink()
    for path in sorted(source.iterdir()):
        if path.is_file() and is_of_the_source(path.name):
            shutil.copyfile(path, output / path.name)


def adopt_source_config(source: Path, output: Path) -> None:
    """The source's config.json with the tool's account of the quantization; rotary embeddings in the words of
    transformers 4 too, which takes its default where it finds none."""
    config = json.loads((source / "config.json").read_bytes())
    made = json.loads((output / "config.json").read_bytes())
    config |= {key: made[key] for key in QUANTIZED if key in made}
    text = json.dumps(config | _rope_in_old_words(config), indent=2) + "\n"
    (output / "config.json").write_text(text, encoding="utf-8")


def _rope_in_old_words(config: Mapping[str, Any]) -> dict[str, Any]:
    theta, scaling = rope_of(config)
    if theta is None or "rope_theta" in config:
        return {}
    return {"rope_theta": theta, "rope_scaling": scaling}
