"""HOW an engine is spoken to: the table of all adapters. Adapters only describe: nothing here starts a process."""

from engine_adapters import (
    endpoint,
    llama_cpp,
    lmdeploy,
    mlc_llm,
    mlx_lm,
    sglang,
    tensorrt_llm,
    tgi,
    transformers_serve,
    vllm,
    vllm_cpu,
)
from engine_adapters.base import EngineAdapter

ADAPTERS: dict[str, EngineAdapter] = {
    adapter.name: adapter
    for adapter in (
        llama_cpp.ADAPTER,
        transformers_serve.ADAPTER,
        mlx_lm.ADAPTER,
        vllm_cpu.ADAPTER,
        vllm.ADAPTER,
        sglang.ADAPTER,
        lmdeploy.ADAPTER,
        tensorrt_llm.ADAPTER,
        mlc_llm.ADAPTER,
        tgi.ADAPTER,
        endpoint.ADAPTER,
    )
}
