"""Lengths drawn from distributions: one stream of its own for each side, whatever else the seed is used for."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from experiments.schema.length import LogNormal, Normal, Uniform

PROMPT_STREAM = 0x50524F4D
OUTPUT_STREAM = 0x4F555450

_SMALLEST = 1e-12


def drawn_lengths(length: int | Uniform | Normal | LogNormal, count: int, seed: int, stream: int) -> NDArray[np.int32]:
    """`count` lengths in tokens; a longer draw keeps its beginning."""
    if isinstance(length, int):
        return np.full(count, length, np.int32)
    shares = np.random.default_rng([stream, seed % 2**64]).random(count)
    if isinstance(length, Uniform):
        return (length.min + np.floor(shares * (length.max - length.min + 1))).astype(np.int32)
    if isinstance(length, LogNormal):
        edges = np.log([length.min - 0.5, length.longest + 0.5])
        values = np.exp(_cut_normal(shares, length.log_mean, length.log_std, edges))
    else:
        values = _cut_normal(shares, length.mean, length.std, np.array([length.min - 0.5, length.longest + 0.5]))
    return np.clip(np.rint(values), length.min, length.longest).astype(np.int32)


def _cut_normal(
    shares: NDArray[np.float64], mean: float, std: float, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The normal distribution between two edges, by inversion of its cumulative distribution."""
    if std == 0:
        return np.full(len(shares), mean)
    normal = NormalDist(mean, std)
    low, high = (normal.cdf(float(edge)) for edge in edges)
    inside = np.clip(low + shares * (high - low), _SMALLEST, 1 - _SMALLEST)
    return np.array([normal.inv_cdf(float(share)) for share in inside])
