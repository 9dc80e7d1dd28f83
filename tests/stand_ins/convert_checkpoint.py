"""Stands where a conversion script of TensorRT-LLM 1.2.1 would run: `FAMILY` is the first argument."""

import json
import sys
from pathlib import Path

from arguments import begin, say, write  # type: ignore[import-not-found]

if __name__ == "__main__":
    given = begin(f"tensorrt_llm.convert_{sys.argv[1]}", "1.2.1", sys.argv[2:])
    ranks = int(given["--tp_size"]) * int(given["--pp_size"])
    output = Path(given["--output_dir"])
    architecture = json.loads((Path(given["--model_dir"]) / "config.json").read_text())["architectures"][0]
    mapping = {"world_size": ranks, "tp_size": int(given["--tp_size"]), "pp_size": int(given["--pp_size"])}
    for rank in range(ranks):
        write(output / f"rank{rank}.safetensors", f"weights of GPU {rank}")
    config = {"architecture": architecture, "dtype": given["--dtype"], "mapping": mapping}
    write(output / "config.json", json.dumps(config))
    say("Total time of converting checkpoints: 00:00:07")
