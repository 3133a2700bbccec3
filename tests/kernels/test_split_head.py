"""The output head in two planes: its scores are those of the Q8_0 head, and its largest output is found exactly."""

import numpy as np
import pytest
from support.kernels import LEVELS, bits, each_level, encode
from support.testing_module import kernels


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
    logits = kernels.matmul(level, kernels.PackedMatrix("Q8_0", rows, n, k), x[None])[0]
    return kernels.softcap(level, logits, softcap) if softcap else logits


def check_best(level: str, rows: np.ndarray, n: int, k: int, x, softcap=0.0, apart=(), n_threads=1) -> int:
    """The search agrees with the full head for x [k] or [m, k]; returns how many groups it scored, or all of them."""
    x = np.atleast_2d(x)
    ids = [np.array(apart, np.int32)] * len(x)
    found = kernels.SplitHead(rows, n, k).best(level, x, softcap, ids, n_threads)
    if found is None:
        return -(-n // 16)
    for row, (best_found, logit, apart_logits) in zip(x, found[0], strict=True):
        logits = full_logits(level, rows, n, k, row, softcap)
        others = logits.copy()
        others[list(apart)] = -np.inf
        best = int(np.argmax(others))
        assert best_found == (best if others[best] > -np.inf else -1)
        if best_found >= 0:
            assert bits(logit) == bits(logits[best])
        assert np.array_equal(bits(apart_logits), bits(logits[list(apart)]))
    return found[1]


@each_level
@pytest.mark.parametrize(("n", "k"), [(1, 32), (5, 128), (40, 384), (100, 640)])
def test_score_groups_gives_the_bits_of_the_q8_0_product(level: str, n: int, k: int) -> None:
    rows, head = random_head(n, k, seed=k), kernels.SplitHead(random_head(n, k, seed=k), n, k)
    n_groups = -(-n // 16)
    for m in (1, 2, 3, 5, 8, 9, 17):
        x = np.stack([activations(k, seed=n + i) for i in range(m)])
        logits = np.zeros((m, 16 * n_groups), np.float32)
        logits[:, :n] = kernels.matmul(level, kernels.PackedMatrix("Q8_0", rows, n, k), x)
        for groups in (range(n_groups), range(n_groups - 1, -1, -2)):
            expected = np.concatenate([logits[:, 16 * g : 16 * g + 16] for g in groups], axis=1)
            assert np.array_equal(
                bits(kernels.score_groups(level, head, x, np.array(groups, np.int32))), bits(expected)
            )


@each_level
@pytest.mark.parametrize("seed", range(8))
def test_bound_groups_is_above_every_logit(level: str, seed: int) -> None:
    n, k, m = 333, 96 * (1 + seed), 1 + seed
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, (n, k // 32, 32))
    x = np.stack([activations(k, 10 * seed + i) for i in range(m)])
    # The worst rows there are: what the fine plane adds has the direction of the activations.
    signs = np.where(x[0].reshape(-1, 32) > 0, 15, 0)
    values[:50] = (values[:50] & ~15) | signs
    values[50:60] = np.where(signs, 127, -128)
    rows = q8_0(np.abs(rng.standard_normal((n, k // 32))), values)
    head = kernels.SplitHead(rows, n, k)
    logits = kernels.matmul(level, kernels.PackedMatrix("Q8_0", rows, n, k), x)
    none, some, every = np.zeros(k // 32), rng.integers(0, 2, k // 32), np.ones(k // 32)
    slack = []
    for exact in (none, some, every):
        bounds, group_bounds = kernels.bound_groups(level, head, x, exact.astype(np.uint8))
        assert np.array_equal(group_bounds, bounds.reshape(m, -1, 16).max(axis=2))
        assert np.all(bounds[:, :n] >= logits)
        slack.append(np.median(bounds[0, 60:n] - logits[0, 60:]))
    assert slack[0] < 0.5 * logits[0, 60:].std() * 4  # they are good for something
    assert slack[1] <= slack[0]  # and better the more blocks are exact
    assert slack[2] < 0.01 * logits[0, 60:].std()


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
    for m in (2, 3, 5, 8):
        several = np.stack([activations(k, 100 * seed + i) for i in range(m)])
        check_best(level, rows, n, k, several, apart=apart)
    # With the winners set apart, the next one wins.
    order = np.argsort(-full_logits(level, rows, n, k, x), kind="stable")
    check_best(level, rows, n, k, x, apart=np.sort(order[:25]))


@each_level
def test_a_clear_winner_needs_few_scores(level: str) -> None:
    n, k = 5000, 256
    rng = np.random.default_rng(5)
    weight, x = rng.standard_normal((n, k)) * 0.05, activations(k, 6)
    weight[4321] += x / np.linalg.norm(x) * 4
    assert check_best(level, encode("Q8_0", weight), n, k, x) < n // 16 // 50


@each_level
def test_several_rows_are_searched_at_once(level: str) -> None:
    n, k = 5000, 256
    rng = np.random.default_rng(15)
    weight = rng.standard_normal((n, k)) * 0.05
    x = np.stack([activations(k, 30 + i) for i in range(8)])
    winners = rng.choice(n, 8, replace=False)
    weight[winners] += x / np.linalg.norm(x, axis=1, keepdims=True) * 4
    rows = encode("Q8_0", weight)
    for m in range(1, 9):
        assert check_best(level, rows, n, k, x[:m]) < n // 16 // 8
    check_best(level, rows, n, k, x, softcap=3.0, apart=np.sort(winners[:4]))


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
    assert check_best(level, same, n, k, x) == n // 16  # all rows equal: nothing can be left out
    zero = q8_0(np.zeros((n, k // 32)), np.zeros(blocks))
    assert check_best(level, zero, n, k, x) == n // 16
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
                check_best(level.values[0], rows, n, k, np.stack([x, -x, x / 3]), apart=[3, 5], n_threads=n_threads)


def test_a_search_that_goes_on_stays_exact() -> None:
    """However many blocks it has learnt to take from both planes."""
    n, k = 20000, 256
    rng = np.random.default_rng(14)
    rows = encode("Q8_0", rng.standard_normal(k) + 0.05 * rng.standard_normal((n, k)))
    x, level = rng.standard_normal((1, k)).astype(np.float32), kernels.active()
    best = int(np.argmax(full_logits(level, rows, n, k, x[0])))
    head, counts = kernels.SplitHead(rows, n, k), []
    for repeat in range(1, 12):
        found = head.best(level, x, repeat=repeat)
        counts.append(n // 16 if found is None else found[1])
        assert found is None or found[0][0][0] == best
    assert counts[0] == n // 16  # every row is about as good as the others
    assert counts[-1] < n // 16 // 4
