"""`dyno plan` on an experiment of 10,000 cells, as a person runs it, and where its time goes.

python -m tests.benchmarks.bench_plan [--profile]
"""

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 5.0
ENGINES = ("vllm", "sglang", "lmdeploy", "tensorrt_llm")
VERSIONS = {"vllm": "0.33.0", "sglang": "0.5.23", "lmdeploy": "0.18.0", "tensorrt_llm": "1.2.1"}


def experiment() -> str:
    """20 models × 4 engines × 13 batch sizes × 10 workloads: 10,400 cells."""
    models = [f"  - {{name: m{i}, source: {{kind: hub, repo: org/m{i}}}}}" for i in range(20)]
    lines = [
        f'  - {{engine: {engine}, engine_version: "{VERSIONS[engine]}", quantization: bf16, hardware: h100-sxm, '
        f"model: [{', '.join(f'm{i}' for i in range(20))}], runtime: container, "
        f"max_num_seqs: [{', '.join(str(8 * n) for n in range(1, 14))}]}}"
        for engine in ENGINES
    ]
    loads = [f"  - {{name: w{i}, prompt_tokens: {128 * (i + 1)}, output_tokens: 128}}" for i in range(10)]
    return "\n".join(["models:", *models, "variants:", *lines, "workloads:", *loads, ""])


def main() -> int:
    """Prints the seconds; 1 where it takes longer than it may."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    profiled = parser.parse_args().profile
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(experiment())
        os.environ["DYNO_HOME"] = str(Path(folder) / "home")
        if profiled:
            return _profile(file)
        command = [sys.executable, "-m", "flows.cli", "plan", str(file), "--json"]
        began, before = time.monotonic(), os.times()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, after = time.monotonic() - began, os.times()
    cells = done.stdout.count('"cell_id"')
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{cells} cells planned in {seconds:.1f} s ({cpu:.1f} s of CPU); they may take {LIMIT_S:g} s")
    return int(seconds > LIMIT_S or cells < 10_000)


def _profile(file: Path) -> int:
    from flows.terminal import read_file
    from tasks.campaigns.campaign import open_campaign
    from tasks.campaigns.home import open_home
    from tasks.campaigns.planning import estimate, plan_cells

    with cProfile.Profile() as profile:
        found = read_file(file)
        cells = plan_cells(found, open_campaign(open_home().campaigns, found.name))
        estimate(cells, found.load_plan)
        for cell in cells:
            cell.row()
    pstats.Stats(profile).sort_stats("cumulative").print_stats(35)
    return 0


if __name__ == "__main__":
    sys.exit(main())
