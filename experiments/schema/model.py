"""Models and where their weights come from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Name, Spec

Positive = Annotated[int, Field(gt=0)]


class SyntheticSource(Spec):
    """A real Llama architecture with seeded random weights: every stage works on it, no answer makes sense."""

    kind: Literal["synthetic"]
    seed: int = 0
    vocab_size: Annotated[int, Field(ge=512, le=65536)] = 8192
    hidden_size: Positive = 256
    intermediate_size: Positive = 1024
    layers: Positive = 4
    attention_heads: Positive = 4
    kv_heads: Positive = 2
    context_length: Positive = 4096

    @model_validator(mode="after")
    def _shapes_can_be_quantized(self) -> Self:
        for field in ("hidden_size", "intermediate_size"):
            if getattr(self, field) % 256:
                raise ValueError(f"{field} must be a multiple of 256, the block of llama.cpp's K-quants")
        if self.hidden_size % self.attention_heads or (self.hidden_size // self.attention_heads) % 2:
            raise ValueError("hidden_size / attention_heads must be an even whole number")
        if self.attention_heads % self.kv_heads:
            raise ValueError("attention_heads must be a multiple of kv_heads")
        return self


class LocalSource(Spec):
    """A folder in the Hugging Face layout: config.json, safetensors, tokenizer files. `~` is the home folder."""

    kind: Literal["local"]
    path: Annotated[str, Field(min_length=1)]


class HubSource(Spec):
    """A repository on a hub; `revision` (branch, tag or commit) is resolved to a commit before anything is read."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(min_length=1)] = "main"


ModelSource = Annotated[SyntheticSource | LocalSource | HubSource, Field(discriminator="kind")]


class Model(Spec):
    """A model by the name that people give it. The name takes no part in identity: the source does.

    `calibration` is a text file, or a .jsonl file with `text`, that quantizations look at which need data; without it
    they are given English of ours, which means nothing.
    """

    name: Name
    source: ModelSource
    calibration: Annotated[str, Field(min_length=1)] | None = None
