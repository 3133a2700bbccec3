"""The output head in two planes: joined it is the Q8_0 head, and its largest output is found exactly."""

import numpy as np
import pytest
from support.kernels import LEVELS, bits, each_level, encode
from t5g._core import kernels


def q8_0(scales: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bytes of a matrix with these scales [n, k / 32] and values [n, k / 32, 32]."""
    scale_bytes = np.asarray(scales, np.float16)[..., None].view(np.uint8)
    return np.concatenate([scale_bytes, np.asarray(values, np.int8).view(np.uint8)], axis=-1).ravel()


def random_head(n: int, k: int, seed: int) -> np.ndarray:
    """Any bytes at all, -128 too, with scales of many sizes and signs."""
    rng = np.random.default_rng(seed)
    scales = rng.standard_normal((n, k // 32)) * 10.0 ** rng.integers(-6, 3, (n, 1))
    return q8_0(scales, rng.integers(-128, 128, (n, k // 32, 32)))


def activations(k: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(k) * rng.uniform(0.01, 100)
    x[rng.integers(0, k, 3)] *= 40  # some channels are much larger, as in real models
    return x.astype(np.float32)


def full_logits(level: str, rows: np.ndarray, n: int, k: int, x: np.ndarray, softcap: float = 0.0) -> np.ndarray:
    logits = kernels.PackedMatrix("Q8_0", rows, n, k).matmul(level, x[None])[0]
    return kernels.softcap(level, logits, softcap) if softcap else logits


def check_best(level: str, rows: np.ndarray, n: int, k: int, x: np.ndarray, softcap=0.0, apart=(), n_threads=1) -> int:
    """The search agrees with the full head; returns how many rows it scored, n where it gave up."""
    found = kernels.SplitHead(rows, n, k).best(level, x, softcap, np.array(apart, np.int32), n_threads)
    if found is None:
        return n
    logits = full_logits(level, rows, n, k, x, softcap)
    others = logits.copy()
    others[list(apart)] = -np.inf
    best = int(np.argmax(others))
    assert found[0] == (best if others[best] > -np.inf else -1)
    if found[0] >= 0:
        assert bits(found[1]) == bits(logits[best])
    assert np.array_equal(bits(found[2]), bits(logits[list(apart)]))
    return found[3]


@each_level
@pytest.mark.parametrize(("n", "k"), [(1, 128), (16, 128), (37, 256), (100, 640)])
def test_joined_planes_are_the_packed_matrix(level: str, n: int, k: int) -> None:
    rows = random_head(n, k, seed=n)
    assert np.array_equal(kernels.SplitHead(rows, n, k).joined(level), kernels.PackedMatrix("Q8_0", rows, n, k).bytes)


@each_level
@pytest.mark.parametrize(("n", "k"), [(5, 128), (40, 384), (100, 640)])
def test_scores_of_some_rows_have_the_bits_of_all_logits(level: str, n: int, k: int) -> None:
    rows, x = random_head(n, k, seed=k), activations(k, seed=n)
    head, logits = kernels.SplitHead(rows, n, k), full_logits(level, rows, n, k, x)
    rng = np.random.default_rng(1)
    for count in (1, 2, 15, 16):
        chosen = rng.integers(0, n, count).astype(np.int32)
        assert np.array_equal(bits(head.scores(level, x, chosen)), bits(logits[chosen]))


@each_level
@pytest.mark.parametrize("seed", range(8))
def test_no_logit_is_above_its_bound(level: str, seed: int) -> None:
    n, k = 333, 128 * (1 + seed)
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, (n, k // 32, 32))
    x = activations(k, seed)
    # The worst rows there are: what the fine plane adds has the direction of the activations.
    signs = np.where(x.reshape(-1, 32) > 0, 15, 0)
    values[:50] = (values[:50] & ~15) | signs
    values[50:60] = np.where(signs, 127, -128)
    rows = q8_0(np.abs(rng.standard_normal((n, k // 32))), values)
    bounds = kernels.SplitHead(rows, n, k).bounds(level, x)[:n]
    logits = full_logits(level, rows, n, k, x)
    assert np.all(bounds >= logits)
    assert np.median(bounds[60:] - logits[60:]) < 0.5 * logits[60:].std() * 4  # and they are good for something


@each_level
@pytest.mark.parametrize("seed", range(6))
def test_best_of_random_heads(level: str, seed: int) -> None:
    n, k = 3000 + seed, 128 * (1 + seed % 3)
    rng = np.random.default_rng(seed)
    rows = encode("Q8_0", rng.standard_normal((n, k)))
    for i in range(4):
        x = activations(k, 10 * seed + i)
        apart = np.sort(rng.choice(n, 40 * (i % 2), replace=False))
        check_best(level, rows, n, k, x, apart=apart)
    # With the winners set apart, the next one wins.
    order = np.argsort(-full_logits(level, rows, n, k, x), kind="stable")
    check_best(level, rows, n, k, x, apart=np.sort(order[:25]))


@each_level
def test_a_clear_winner_needs_few_scores(level: str) -> None:
    n, k = 5000, 256
    rng = np.random.default_rng(5)
    weight, x = rng.standard_normal((n, k)) * 0.05, activations(k, 6)
    weight[4321] += x / np.linalg.norm(x) * 4
    assert check_best(level, encode("Q8_0", weight), n, k, x) < n // 50


@each_level
@pytest.mark.parametrize("softcap", [0.0, 30.0, 0.5])
def test_ties_and_near_ties_go_to_the_lowest_id(level: str, softcap: float) -> None:
    n, k = 4000, 128
    rng = np.random.default_rng(7)
    x = activations(k, 8)
    weight = rng.standard_normal((n, k)) * 0.02
    winner = x / np.abs(x).max()
    for row in (77, 78, 1500, 3999):
        weight[row] = winner
    rows = encode("Q8_0", weight).reshape(n, -1)
    check_best(level, rows.ravel(), n, k, x, softcap)
    check_best(level, rows.ravel(), n, k, x, softcap, apart=[77])
    # One unit in the last place of one weight, above or below.
    for row, step in ((78, 1), (1500, -1), (3999, 1)):
        rows[row, 2 + 5] = np.int8(rows[row, 2 + 5].view(np.int8) // 2 + step).view(np.uint8)
    check_best(level, rows.ravel(), n, k, x, softcap)


@each_level
def test_awkward_heads(level: str) -> None:
    n, k = 2000, 128
    rng = np.random.default_rng(9)
    x = activations(k, 10)
    blocks = (n, k // 32, 32)
    same = q8_0(np.ones((n, k // 32)), np.tile(rng.integers(-128, 128, (1, *blocks[1:])), (n, 1, 1)))
    assert check_best(level, same, n, k, x) == n  # all rows equal: nothing can be left out
    zero = q8_0(np.zeros((n, k // 32)), np.zeros(blocks))
    assert check_best(level, zero, n, k, x) == n
    for spread in (1e-3, 1.0):
        scales = rng.standard_normal((n, k // 32)) * spread
        scales[rng.integers(0, n, n // 2)] = 0
        scales[rng.integers(0, n, 3)] *= 1000
        check_best(level, q8_0(scales, rng.integers(-128, 128, blocks)), n, k, x)
    rows = random_head(n, k, seed=11)
    check_best(level, rows, n, k, np.zeros(k, np.float32))
    check_best(level, rows, n, k, x * np.float32(1e-30))
    check_best(level, rows, n, k, x, apart=list(range(n)))  # nobody is left
    check_best(level, rows, n, k, x, apart=list(range(1, n)))


def test_scales_that_are_not_finite_are_seen() -> None:
    scales = np.ones((20, 4))
    assert kernels.SplitHead(q8_0(scales, np.ones((20, 4, 32))), 20, 128).finite
    for value in (np.inf, -np.inf, np.nan):
        scales[17, 2] = value
        assert not kernels.SplitHead(q8_0(scales, np.ones((20, 4, 32))), 20, 128).finite


def test_threads_and_levels_agree() -> None:
    n, k = 20000, 128
    rng = np.random.default_rng(12)
    rows, x = encode("Q8_0", rng.standard_normal((n, k)) * rng.uniform(0.1, 1, (n, 1))), activations(k, 13)
    for level in LEVELS:
        if not level.marks:
            for n_threads in (1, 2, 5):
                check_best(level.values[0], rows, n, k, x, softcap=2.0 * n_threads, apart=[3, 5], n_threads=n_threads)
