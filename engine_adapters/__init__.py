"""HOW an engine is spoken to: the table of all adapters. Adapters only describe: nothing here starts a process."""

from engine_adapters import llama_cpp
from engine_adapters.base import EngineAdapter

ADAPTERS: dict[str, EngineAdapter] = {adapter.name: adapter for adapter in (llama_cpp.ADAPTER,)}
