"""Phases of a start, out of lines that the real servers wrote."""

from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from tasks.serving.start_phases import start_phases

LLAMA = """xllamacpp 2026.10.11549
0.00.004.253 I srv          init: loading model
0.00.004.314 I srv    load_model: loading model 'model.gguf'
0.00.042.556 I srv    load_model: initializing, n_slots = 8, n_ctx_slot = 2048, kv_unified = 'false'
1.02.044.810 I srv          init: model loaded
"""
TRANSFORMERS = (
    "[transformers] Loading model@main\n"
    "Loading weights:   0%|          | 0/39 [00:00<?, ?it/s]"
    "Loading weights: 100%|██████████| 39/39 [01:07<00:00, 12150.18it/s]\n"
)
VLLM = """(Worker pid=16382) INFO 11-21 13:45:46 [default_loader.py:501] Loading weights took 0.01 seconds
(Worker pid=16383) INFO 11-21 13:45:46 [default_loader.py:501] Loading weights took 2.50 seconds
"""
COMPILED = """(EngineCore pid=9) INFO [monitor.py:34] torch.compile took 75.31 s in total
"""


@pytest.mark.parametrize(
    ("engine", "log", "expected"),
    [
        ("llama_cpp", LLAMA, {"weights": 62.040557}),
        ("transformers_serve", TRANSFORMERS, {"weights": 67.0}),
        ("vllm_cpu", VLLM, {"weights": 2.5}),
        ("vllm_cpu", VLLM + COMPILED, {"weights": 2.5, "compile": 75.31}),
        ("vllm", VLLM + COMPILED, {"weights": 2.5, "compile": 75.31}),
        ("mlx_lm", "Starting httpd at 127.0.0.1 on port 55807...\n", {}),
    ],
)
def test_a_phase_is_what_the_log_says(engine: str, log: str, expected: dict[str, float], tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    file.write_text(log, encoding="utf-8")
    found, reasons = start_phases(ADAPTERS[engine].start_phases, file)
    assert found == pytest.approx(expected)
    assert found.keys() | reasons.keys() == {"weights", "compile", "capture"}
    assert not found.keys() & reasons.keys()


def test_what_is_not_told_says_whether_it_ever_is(tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    file.write_text("", encoding="utf-8")
    _, reasons = start_phases(ADAPTERS["vllm_cpu"].start_phases, file)
    assert reasons["compile"].startswith("no line of its log tells it")
    assert reasons["capture"].startswith("no line of this engine's log is known")
    assert set(start_phases({}, tmp_path / "none")[1].values()) == {"there is no log of its server"}
