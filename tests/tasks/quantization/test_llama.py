"""Llama 3.1's stretched rotations, and the layout of rows."""

import numpy as np
import pytest

from tasks.quantization.llama import interleaved, llama3_rope_factors

LLAMA_3_1 = {
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_the_factors_of_llama_3_1_stretch_slow_rotations_only() -> None:
    """By the three cases of the model's reference code, on frequencies instead of divisors."""
    frequencies = 1.0 / 500000.0 ** (np.arange(0, 128, 2) / 128)
    expected = []
    for frequency in frequencies:
        wavelength = 2 * np.pi / frequency
        if wavelength < 8192 / 4:
            expected.append(frequency)
        elif wavelength > 8192 / 1:
            expected.append(frequency / 8)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected.append((1 - smooth) * frequency / 8 + smooth * frequency)
    found = frequencies / np.array(llama3_rope_factors(LLAMA_3_1, dimensions=128))
    assert found == pytest.approx(expected, rel=1e-6)
    assert len({round(ratio, 3) for ratio in frequencies / expected}) > 3, "all three cases occur"


def test_interleaving_pairs_the_halves_of_each_head() -> None:
    rows = np.array([[0], [1], [2], [3], [10], [11], [12], [13]], dtype=np.float32)
    assert interleaved(rows, 4).ravel().tolist() == [0, 2, 1, 3, 10, 12, 11, 13]
