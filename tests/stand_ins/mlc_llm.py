"""Stands where `mlc_llm convert_weight | gen_config | compile` of 0.20 would run."""

import json
import sys
from pathlib import Path

from arguments import begin, say, write  # type: ignore[import-not-found]

if __name__ == "__main__":
    command = sys.argv[1]
    given = begin(f"mlc_llm.{command}", "0.20.0", sys.argv[2:])
    output = Path(given["--output"])
    if command == "convert_weight":
        weights = sum(len(path.read_bytes()) for path in Path(given["0"]).glob("*.safetensors"))
        for shard in range(2):
            write(output / f"params_shard_{shard}.bin", f"{given['--quantization']} of {weights} bytes, part {shard}")
        write(output / "tensor-cache.json", json.dumps({"records": 2}))
        say("[2026-01-01 00:00:00] INFO stats.py: RAM usage: Peak RAM: 2.500 GB. Total bytes loaded from disk: 1.0 GB")
    elif command == "gen_config":
        config = {"model_type": json.loads((Path(given["0"]) / "config.json").read_text())["model_type"]}
        write(output / "mlc-chat-config.json", json.dumps(config | {"quantization": given["--quantization"]}))
    else:
        config = json.loads(Path(given["0"]).read_text())
        write(output, f"library for {config['model_type']}")
