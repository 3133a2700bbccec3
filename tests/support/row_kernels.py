"""What the kernels on plain numbers compute, in float64: one function for each such row of kernels.inc.

Each takes what the kernel is given and returns, for each of its results, the exact value and the error allowed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from support.testing_module import kernels

Results = list[tuple[Any, Any]]

# Kernels that are called with arrays and numbers, which their rows describe; the others are called with structs.
ROW_KERNELS = [name for name in kernels.rows() if kernels.inputs(name, 1) is not None]


def row_inputs(name: str, n: int, seed: int) -> list[Any]:
    """Random arrays and typical numbers for a kernel, of n values (or blocks, or pairs of them)."""
    rng = np.random.default_rng(seed)
    given = kernels.inputs(name, n) or []
    return [(rng.standard_normal(size) * 3).astype(np.float32) if size is not None else x for _, size, x in given]


def call(name: str, level: str, given: list[Any]) -> list[np.ndarray]:
    """All results of a kernel."""
    results = getattr(kernels, name)(level, *given)
    return [np.asarray(x) for x in (results if isinstance(results, tuple) else (results,))]


def gelu_tanh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value, in the form that does not cancel for negative x, and the error allowed in float."""
    exponent = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    value = x / (1 + np.exp(-exponent))
    # The exponent is right to 4 roundings, which weigh as much as it is large where e^exponent is the value.
    return value, 2.0**-24 * (8 + 4 * np.maximum(-exponent, 0)) * np.abs(value) + 1e-36


def quantize_row(x: np.ndarray) -> Results:
    blocks = x.astype(np.float32).reshape(-1, 32)
    largest = np.abs(blocks).max(axis=1)
    # A block too small to be scaled counts as zero. The product with the reciprocal is exact in float64 and is rounded
    # once, to even.
    small = largest <= 1e-30
    inverse = np.where(small, np.float32(0), np.float32(127) / np.where(small, np.float32(1), largest))
    values = np.rint(blocks.astype(np.float64) * inverse[:, None].astype(np.float64))
    scales = np.where(small, np.float32(0), largest / np.float32(127))
    return [(values.ravel(), 0), (scales, 0), (values.sum(axis=1), 0)]


def round_row(x: np.ndarray) -> Results:
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    return [(np.concatenate([rounded, np.zeros(x.size % 2)]), 0)]


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> Results:
    normed = x / np.sqrt(np.mean(x**2) + eps) * weight
    return [(normed, 1e-6 * np.abs(normed))]


def add_rms_norm(x: np.ndarray, a: np.ndarray, weight: np.ndarray, eps: float) -> Results:
    added = x + rms_norm(a, weight, eps)[0][0]
    return [(added, 1e-6 * (1 + np.abs(added)))]


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> Results:
    normed = (x - x.mean()) / np.sqrt(x.var() + eps) * weight + bias
    return [(normed, 1e-5 * np.abs(normed) + 1e-5)]


def bias_gelu(x: np.ndarray, bias: np.ndarray) -> Results:
    return [gelu_tanh((x + bias).astype(np.float32).astype(np.float64))]


def geglu(gate: np.ndarray, up: np.ndarray) -> Results:
    value, error = gelu_tanh(gate)
    return [(value * up, error * np.abs(up) + 1e-36)]


def softcap(x: np.ndarray, cap: float) -> Results:
    capped = cap * np.tanh(x / cap)
    return [(capped, 6e-7 * np.abs(capped))]


def rope(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> Results:
    first, second = np.split(x, 2)
    rotated = np.concatenate([first * cosines - second * sines, second * cosines + first * sines])
    # Two products and a sum, each rounded to within 2^-24.
    return [(rotated, 2.0**-22 * np.tile(np.abs(first) + np.abs(second), 2) * np.tile(np.hypot(cosines, sines), 2))]


def rope_angles(inv_freq: np.ndarray, position: float) -> Results:
    angles = (inv_freq.astype(np.float32) * np.float32(position)).astype(np.float64)
    return [(np.cos(angles), 2.0**-22), (np.sin(angles), 2.0**-22)]


def argmax(x: np.ndarray) -> Results:
    return [(np.argmax(x), 0)]


def log_sum_exp(x: np.ndarray) -> Results:
    value = x.max() + np.log(np.exp(x - x.max()).sum())
    return [(value, 2e-7 * max(abs(value), 5))]


REFERENCES: dict[str, Callable[..., Results]] = {
    f.__name__: f
    for f in (
        quantize_row,
        round_row,
        rms_norm,
        add_rms_norm,
        layer_norm,
        bias_gelu,
        geglu,
        softcap,
        rope,
        rope_angles,
        argmax,
        log_sum_exp,
    )
}
