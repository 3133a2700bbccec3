"""Attention to rows of hidden states, which are keys and values in one, at every level."""

import numpy as np
import pytest
from support.kernels import bits, each_level, each_other_level
from support.testing_module import kernels

TYPES = ("f32", "f16", "q8_0")
SIZES = (1, 24, 32, 40, 72, 640)


def draw(rows: int, n_keys: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries [rows, n], keys [n_keys, n] and what scores are scaled by [rows, n_keys]."""
    rng = np.random.default_rng(seed)
    q = (rng.standard_normal((rows, n)) * n**-0.5).astype(np.float32)
    keys = rng.standard_normal((n_keys, n)).astype(np.float32)
    return q, keys, rng.uniform(0.5, 2, (rows, n_keys)).astype(np.float32)


def kept(keys: np.ndarray, kind: str) -> np.ndarray:
    """What stays of keys in a type."""
    if kind == "f32":
        return keys.astype(np.float64)
    if kind == "f16":
        return keys.astype(np.float16).astype(np.float64)
    blocks = np.pad(keys, ((0, 0), (0, -keys.shape[1] % 32))).reshape(len(keys), -1, 32)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    ints = np.rint(blocks * (np.float32(127) / largest))
    return (ints * (largest / np.float32(127))).reshape(len(keys), -1)[:, : keys.shape[1]].astype(np.float64)


@each_level
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("softcap", [0.0, 2.5])
def test_attend_latent_to_a_chunk(level: str, kind: str, softcap: float) -> None:
    for n in SIZES:
        for rows, n_keys in ((1, 64), (3, 7), (4, 64), (9, 33), (66, 1)):
            q, keys, scales = draw(rows, n_keys, n, seed=n + rows)
            top, total, acc = kernels.attend_latent(level, kind, q, keys, scales, softcap=softcap)
            exact = kept(keys, kind)
            scores = q.astype(np.float64) @ exact.T * scales
            if softcap:
                scores = softcap * np.tanh(scores / softcap)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            assert np.allclose(top, scores.max(axis=1), rtol=1e-5, atol=1e-5)
            assert np.allclose(total, weights.sum(axis=1), rtol=2e-5)
            assert np.allclose(acc, weights @ exact, rtol=2e-5, atol=3e-5)


@each_level
def test_attend_latent_without_scales(level: str) -> None:
    q, keys, scales = draw(5, 20, 40, seed=1)
    plain = kernels.attend_latent(level, "f16", q, keys, np.zeros((0, 0), np.float32))
    for found, expected in zip(plain, kernels.attend_latent(level, "f16", q, keys, np.ones_like(scales)), strict=True):
        assert np.array_equal(bits(found), bits(expected))


@each_level
@pytest.mark.parametrize("kind", TYPES)
def test_a_row_does_not_see_its_neighbours(level: str, kind: str) -> None:
    q, keys, scales = draw(13, 50, 72, seed=2)
    together = kernels.attend_latent(level, kind, q, keys, scales)
    for first in range(13):
        for count in (1, 2, 5):
            some = slice(first, first + count)
            part = kernels.attend_latent(level, kind, q[some], keys, scales[some])
            for whole, alone in zip(together, part, strict=True):
                assert np.array_equal(bits(alone), bits(whole[some]))


@each_other_level
@pytest.mark.parametrize("kind", TYPES)
def test_levels_agree_to_the_bit(level: str, kind: str) -> None:
    for rows, n_keys, n in ((1, 64, 640), (4, 17, 24), (70, 64, 72)):
        given = draw(rows, n_keys, n, seed=3)
        results = [kernels.attend_latent(name, kind, *given, softcap=1.5) for name in (level, "generic")]
        for found, expected in zip(*results, strict=True):
            assert np.array_equal(bits(found), bits(expected))
