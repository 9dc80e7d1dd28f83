"""Stands where trtllm-build 1.2.1 would compile: reads a checkpoint's configuration, writes an engine's file names."""

import json
import sys
from pathlib import Path

from arguments import begin, say, write  # type: ignore[import-not-found]

if __name__ == "__main__":
    given = begin("tensorrt_llm.build", "1.2.1", sys.argv[1:])
    checkpoint, output = Path(given["--checkpoint_dir"]), Path(given["--output_dir"])
    config = json.loads((checkpoint / "config.json").read_text())
    ranks = config["mapping"]["world_size"]
    for rank in range(ranks):
        weights = (checkpoint / f"rank{rank}.safetensors").read_bytes()
        write(output / f"rank{rank}.engine", f"engine of {len(weights)} bytes of weights, for GPU {rank}")
    limits = {key: value for key, value in given.items() if key.startswith("--max_")}
    write(output / "config.json", json.dumps({"pretrained_config": config, "build_config": limits}))
    write(Path(given["--output_timing_cache"]), "timings")
    say("[01/01/2026-00:00:00] [TRT-LLM] [I] Build phase peak memory: 1024.50 MB, children: 17.09 MB")
    say("[01/01/2026-00:00:00] [TRT-LLM] [I] Total time of building all engines: 00:01:38")
