"""Attention over one part and the merging of parts, at every level."""

import copy

import numpy as np
import pytest
from support.kernels import bits, each_level, each_other_level
from support.testing_module import kernels

CHUNK = 64
PART = 16 * CHUNK  # the keys of one part in bf16
SCORE_UNITS = np.float32(128 * np.log2(np.e))  # in which bf16 queries are scaled before they are rounded


class Chunk:
    """Random queries, keys, values and visible ranges; keys of one chunk or several."""

    def __init__(self, rows: int, head_dim: int, seed: int, n_keys: int = CHUNK) -> None:
        rng = np.random.default_rng(seed)
        self.q = (rng.standard_normal((rows, head_dim)) * head_dim**-0.5).astype(np.float32)
        self.keys = (rng.standard_normal((n_keys, head_dim)) * 3).astype(np.float32)
        self.values = rng.standard_normal((n_keys, head_dim)).astype(np.float32)
        self.begin = rng.integers(-3, n_keys, rows).astype(np.int32)
        self.end = rng.integers(0, n_keys + 4, rows).astype(np.int32)  # empty where not above begin

    def attend(
        self, level: str, rows: slice = slice(None), softcap: float = 0.0, kv_type: str = "f32"
    ) -> list[np.ndarray]:
        """max, sum and acc of these rows. kv_type "int8": bf16 with queries and keys of int8."""
        return list(
            kernels.attend(
                level,
                self.q[rows],
                self.keys,
                self.values,
                self.begin[rows],
                self.end[rows],
                softcap=softcap,
                kv_type="bf16" if kv_type == "int8" else kv_type,
                int8=kv_type == "int8",
            )
        )


def expected_row(chunk: Chunk, row: int, softcap: float) -> tuple[float, float, np.ndarray]:
    """The same in float64."""
    visible = slice(max(chunk.begin[row], 0), max(chunk.end[row], 0))
    scores = chunk.keys[visible].astype(np.float64) @ chunk.q[row].astype(np.float64)
    if scores.size == 0:
        return -np.inf, 0.0, np.zeros(chunk.q.shape[1])
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    weights = np.exp(scores - scores.max())
    return scores.max(), weights.sum(), weights @ chunk.values[visible]


@each_level
@pytest.mark.parametrize("head_dim", [2, 4, 6, 8, 12, 16, 32, 36, 64, 72, 128, 256])
@pytest.mark.parametrize("softcap", [0.0, 2.5])
def test_attend_to_a_chunk(level: str, head_dim: int, softcap: float) -> None:
    for rows in (1, 2, 4, 5, 13, 64, 70):
        chunk = Chunk(rows, head_dim, seed=rows)
        top, total, acc = chunk.attend(level, softcap=softcap)
        for row in range(rows):
            expected = expected_row(chunk, row, softcap)
            assert np.isclose(top[row], expected[0], rtol=1e-5, atol=1e-5)
            assert np.isclose(total[row], expected[1], rtol=2e-5)
            assert np.allclose(acc[row], expected[2], rtol=2e-5, atol=2e-5)


def q8_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ints like x and their scales [rows, blocks]: blocks of 32 of a row, the last one shorter."""
    blocks = [x[:, first : first + 32] for first in range(0, x.shape[1], 32)]
    largest = [np.abs(block).max(axis=1, keepdims=True) for block in blocks]
    inverse = [(np.float32(127) / m).astype(np.float64) for m in largest]
    ints = [np.rint(block.astype(np.float64) * i) for block, i in zip(blocks, inverse, strict=True)]
    return np.concatenate(ints, axis=1), np.concatenate(largest, axis=1) / np.float32(127)


def quantized(x: np.ndarray) -> np.ndarray:
    """What stays of keys or values stored as q8_0."""
    ints, scales = q8_0(x)
    return ints.astype(np.float32) * np.repeat(scales, 32, axis=1)[:, : x.shape[1]]


def in_16_bits(x: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Ints like x, and their scale."""
    largest = np.abs(x).max()
    return np.rint(x.astype(np.float64) * np.float64(np.float32(32767) / largest)), largest / np.float32(32767)


def rounded_to_bf16(x: np.ndarray) -> np.ndarray:
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def key_tiles(keys: np.ndarray) -> np.ndarray:
    """[64, dims, ...] -> tiles of 16 keys, [4, dims, 16, ...]."""
    return keys.reshape(4, 16, *keys.shape[1:]).swapaxes(1, 2)


def value_tiles(values: np.ndarray) -> np.ndarray:
    """[64, head_dim] -> tiles of 16 columns, [tiles, 64, 16], the padding zero."""
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % 16)))
    return padded.reshape(CHUNK, -1, 16).swapaxes(0, 1)


def key_pairs(keys: np.ndarray) -> np.ndarray:
    """[64, dims] -> tiles of 16 keys' pairs of dimensions, [4, dims / 2, 16, 2]."""
    return key_tiles(np.pad(keys, ((0, 0), (0, keys.shape[1] % 2))).reshape(CHUNK, -1, 2))


def value_pairs(values: np.ndarray) -> np.ndarray:
    """[64, head_dim] -> tiles of 16 columns' pairs of keys, [tiles, 32, 16, 2]."""
    return value_tiles(values).reshape(-1, CHUNK // 2, 2, 16).swapaxes(2, 3)


def chunk_layout(kv_type: str, keys: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """What a chunk of tokens is stored as (csrc/kernels/cpu/kv_layout.h): keys, then values."""
    if kv_type == "bf16":
        pairs = (key_pairs(keys), value_pairs(values))
        return [(rounded_to_bf16(x).view(np.uint32) >> 16).astype(np.uint16) for x in pairs]
    if kv_type == "q8_0":
        (key_ints, key_scales), (value_ints, value_scales) = q8_0(keys), q8_0(values)
        ints = [x.astype(np.int8) for x in (key_pairs(key_ints), value_pairs(value_ints))]
        return [key_tiles(key_scales), ints[0], value_scales.T, ints[1]]
    dtype = np.float32 if kv_type == "f32" else np.float16
    return [key_tiles(keys).astype(dtype), value_tiles(values).astype(dtype)]


@each_level
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0"])
def test_store_token_lays_out_tiles(level: str, kv_type: str) -> None:
    for head_dim in (1, 15, 32, 36, 72, 256):
        chunk = Chunk(1, head_dim, seed=head_dim)
        expected = b"".join(x.tobytes() for x in chunk_layout(kv_type, chunk.keys, chunk.values))
        assert kernels.store_token(level, kv_type, chunk.keys, chunk.values).tobytes() == expected, head_dim


@each_level
def test_prepare_query_scales_and_rounds(level: str) -> None:
    for head_dim in (2, 15, 32, 36, 72, 256):
        (q,) = Chunk(1, head_dim, seed=head_dim).q
        for kv_type in ("f32", "f16"):
            prepared = kernels.prepare_query(level, kv_type, q, 0.7).view(np.float32)
            assert np.array_equal(bits(prepared), bits(q * np.float32(0.7)))
        prepared = kernels.prepare_query(level, "q8_0", q, 0.7)
        expected, scale = in_16_bits(q * np.float32(0.7))
        assert prepared[:4].view(np.float32) == scale
        assert np.array_equal(prepared[4 : 4 + 2 * head_dim].view(np.int16), expected)
        prepared = kernels.prepare_query(level, "bf16", q, 0.7).view(np.uint16)[:head_dim]
        rounded = rounded_to_bf16(q * (np.float32(0.7) * SCORE_UNITS))
        assert np.array_equal(prepared, rounded.view(np.uint32) >> 16)


@each_level
@pytest.mark.parametrize("head_dim", [2, 20, 36, 72, 256])
def test_halves_are_the_floats_they_stand_for(level: str, head_dim: int) -> None:
    chunk = Chunk(9, head_dim, seed=7)
    chunk.keys[3] *= 1e-6  # subnormal halves
    found = chunk.attend(level, softcap=3.0, kv_type="f16")
    chunk.keys, chunk.values = (x.astype(np.float16).astype(np.float32) for x in (chunk.keys, chunk.values))
    for some, exact in zip(found, chunk.attend(level, softcap=3.0), strict=True):
        assert np.array_equal(bits(some), bits(exact))


@each_level
@pytest.mark.parametrize("head_dim", [2, 7, 20, 36, 72, 80, 256])
@pytest.mark.parametrize("softcap", [0.0, 2.5])
def test_q8_0_rounds_queries_and_weights_to_16_bits(level: str, head_dim: int, softcap: float) -> None:
    for rows in (1, 2, 5, 64, 70):
        chunk = Chunk(rows, head_dim, seed=rows)
        top, total, acc = chunk.attend(level, softcap=softcap, kv_type="q8_0")
        exact = copy.copy(chunk)
        exact.q = np.stack([ints * scale for ints, scale in map(in_16_bits, chunk.q)])
        exact.keys, exact.values = map(quantized, (chunk.keys, chunk.values))
        for row in range(rows):
            expected = expected_row(exact, row, softcap)
            assert np.isclose(top[row], expected[0], rtol=1e-5, atol=1e-5)
            assert np.isclose(total[row], expected[1], rtol=2e-5)
            # 64 weights of at most 1 and values of a few, each rounded by at most half of 1 / 32767.
            assert np.allclose(acc[row], expected[2], rtol=2e-5, atol=64 * np.abs(exact.values).max() / 65534)


def check_parts(found: list[np.ndarray], exact: Chunk, softcap: float = 0.0) -> None:
    """Beside rounded operands: weights of 8 bits of a power of two, of 0.23 % standard deviation."""
    top, total, acc = found
    for row in range(len(top)):
        expected = expected_row(exact, row, softcap)
        if expected[1] == 0:
            assert (top[row], total[row], acc[row].any()) == (-np.inf, 0, False)
            continue
        assert np.isclose(top[row] + np.log(total[row]), expected[0] + np.log(expected[1]), rtol=1e-5, atol=0.007)
        # The values are of the order of 1, the squares of the weights sum to less than the weights: six deviations.
        assert np.allclose(acc[row] / total[row], expected[2] / expected[1], atol=0.014 / expected[1] ** 0.5)


def check_bf16(level: str, chunk: Chunk, softcap: float = 0.0) -> None:
    """Operands rounded to bf16."""
    exact = copy.copy(chunk)
    exact.q = rounded_to_bf16(chunk.q * SCORE_UNITS) / SCORE_UNITS
    exact.keys, exact.values = map(rounded_to_bf16, (chunk.keys, chunk.values))
    check_parts(chunk.attend(level, softcap=softcap, kv_type="bf16"), exact, softcap)


@each_level
@pytest.mark.parametrize("head_dim", [2, 7, 20, 72, 80, 256])
@pytest.mark.parametrize("softcap", [0.0, 2.5])
def test_bf16_rounds_operands_and_sums_in_f32(level: str, head_dim: int, softcap: float) -> None:
    for rows in (1, 2, 5, 64, 70):
        check_bf16(level, Chunk(rows, head_dim, seed=rows), softcap)


@each_level
@pytest.mark.parametrize("n_keys", [2 * CHUNK, PART])
def test_bf16_parts_are_right(level: str, n_keys: int) -> None:
    check_bf16(level, Chunk(35, 20, seed=9, n_keys=n_keys))


def check_int8(level: str, chunk: Chunk) -> None:
    """Queries and keys rounded to int8 by blocks, queries' scales to f16; values as bf16 has them."""
    exact = copy.copy(chunk)
    ints, scales = q8_0(chunk.q * SCORE_UNITS)
    halves = np.repeat(scales.astype(np.float16).astype(np.float32), 32, axis=1)[:, : chunk.q.shape[1]]
    exact.q = ints.astype(np.float32) * halves / SCORE_UNITS
    exact.keys, exact.values = quantized(chunk.keys), rounded_to_bf16(chunk.values)
    check_parts(chunk.attend(level, kv_type="int8"), exact)


@each_level
@pytest.mark.parametrize("head_dim", [32, 72, 80, 256])
def test_int8_scores(level: str, head_dim: int) -> None:
    for rows in (1, 5, 64, 70):
        check_int8(level, Chunk(rows, head_dim, seed=rows))
    check_int8(level, Chunk(35, head_dim, seed=9, n_keys=3 * CHUNK))


def with_room(kv_type: str, head_dim: int) -> int:
    """A head_dim whose keys have room as int8, where they are."""
    return head_dim + 32 if kv_type == "int8" and head_dim < 32 else head_dim


def far_apart(rows: int, n_keys: int) -> Chunk:
    """Scores that rise by hundreds along the keys in every other row: too far above the first for their weights."""
    chunk = Chunk(rows, 16, seed=10, n_keys=n_keys)
    chunk.q[:, 0] = np.where(np.arange(rows) % 2 == 1, 8.0, 0.0)
    chunk.keys[:, 0] = np.linspace(-20, 20, n_keys)
    return chunk


@each_level
def test_bf16_scores_may_rise_without_limit(level: str) -> None:
    chunk = far_apart(20, 3 * CHUNK)
    check_bf16(level, chunk)
    together = chunk.attend(level, kv_type="bf16")
    for row in range(20):
        for whole, some in zip(together, chunk.attend(level, slice(row, row + 1), kv_type="bf16"), strict=True):
            assert np.array_equal(bits(some), bits(whole[row : row + 1]))


@each_level
def test_halves_beyond_their_range_are_the_largest_ones(level: str) -> None:
    chunk = Chunk(1, 4, seed=8)
    chunk.begin[:], chunk.end[:] = 5, 6
    chunk.values[5] = [1e6, -7e4, 65519.0, -np.inf]
    acc = chunk.attend(level, kv_type="f16")[2]
    assert acc.tolist() == [[65504.0, -65504.0, 65504.0, -65504.0]]


@each_level
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0", "int8"])
@pytest.mark.parametrize("head_dim", [8, 20, 72, 256])
def test_a_row_does_not_see_its_neighbours(level: str, kv_type: str, head_dim: int) -> None:
    rows = 23
    chunk = Chunk(rows, with_room(kv_type, head_dim), seed=1)
    together = chunk.attend(level, kv_type=kv_type)
    for first in range(rows):
        for count in (1, 3, 8):
            part = chunk.attend(level, slice(first, first + count), kv_type=kv_type)
            for whole, some in zip(together, part, strict=True):
                assert np.array_equal(bits(some), bits(whole[first : first + count]))


@each_level
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0", "int8"])
@pytest.mark.parametrize("head_dim", [12, 64])
def test_hidden_keys_count_for_nothing(level: str, kv_type: str, head_dim: int) -> None:
    head_dim = with_room(kv_type, head_dim)
    chunk = Chunk(20, head_dim, seed=2)
    chunk.begin[:], chunk.end[:] = 17, 41
    chunk.begin[7], chunk.end[11] = 30, 33
    clean = chunk.attend(level, kv_type=kv_type)
    rng = np.random.default_rng(3)
    for key in [*range(17), *range(41, CHUNK)]:
        chunk.keys[key] = rng.choice([-1e30, 1e30, 0.0], head_dim)
        chunk.values[key] = rng.choice([-3e38, 3e38, -1e-40], head_dim)
    for before, after in zip(clean, chunk.attend(level, kv_type=kv_type), strict=True):
        assert np.array_equal(bits(before), bits(after))


@each_level
@pytest.mark.parametrize("kv_type", ["f32", "bf16"])
def test_weights_that_vanish_do_not_depend_on_neighbours(level: str, kv_type: str) -> None:
    # Sums that round to -0 in one row; its neighbour makes further keys pass by with weight zero.
    chunk = Chunk(2, 16, seed=4)
    chunk.values[:] = -1e-45
    chunk.keys[:] = np.linspace(0, 3000, CHUNK)[:, None]
    chunk.begin[:], chunk.end[:] = [0, 0], [20, 64]
    both = chunk.attend(level, kv_type=kv_type)
    alone = chunk.attend(level, slice(0, 1), kv_type=kv_type)
    for whole, some in zip(both, alone, strict=True):
        assert np.array_equal(bits(whole[:1]), bits(some))


@each_level
@pytest.mark.parametrize("head_dim", [4, 72, 256])
def test_merge_of_chunks_gives_the_whole(level: str, head_dim: int) -> None:
    rows, n_chunks = 6, 3
    chunks = [Chunk(rows, head_dim, seed) for seed in range(n_chunks)]
    for chunk in chunks:
        chunk.q = chunks[0].q
        chunk.begin[:], chunk.end[:] = 0, CHUNK
    chunks[1].end[2] = 0  # one row sees nothing of the second chunk
    state = chunks[0].attend(level)
    for chunk in chunks[1:]:
        state = list(kernels.merge(level, tuple(state), tuple(chunk.attend(level))))
    for row in range(rows):
        seen = [c for c in chunks if c.end[row] > 0]
        scores = np.concatenate([c.keys.astype(np.float64) @ c.q[row].astype(np.float64) for c in seen])
        weights = np.exp(scores - scores.max())
        expected = weights @ np.concatenate([c.values for c in seen]) / weights.sum()
        assert np.allclose(state[2][row] / state[1][row], expected, rtol=1e-5, atol=1e-5)


@each_level
def test_merge_with_nothing_changes_nothing(level: str) -> None:
    chunk = Chunk(9, 20, seed=5)
    chunk.begin[:], chunk.end[:] = 0, CHUNK
    full = tuple(chunk.attend(level))
    chunk.end[:] = 0
    empty = tuple(chunk.attend(level))
    assert np.all(empty[0] == -np.inf)
    assert not empty[1].any()
    assert not empty[2].any()
    for merged in (kernels.merge(level, full, empty), kernels.merge(level, empty, full)):
        for found, expected in zip(merged, full, strict=True):
            assert np.array_equal(bits(found), bits(expected))
    for found, expected in zip(kernels.merge(level, empty, empty), empty, strict=True):
        assert np.array_equal(bits(found), bits(expected))


def attended_and_merged(level: str, chunk: Chunk, softcap: float, kv_type: str) -> list[np.ndarray]:
    part = chunk.attend(level, softcap=softcap, kv_type=kv_type)
    return [*part, *kernels.merge(level, tuple(part), tuple(x[::-1].copy() for x in part))]


@each_other_level
@pytest.mark.parametrize("softcap", [0.0, 5.0])
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0"])
def test_levels_agree_to_the_bit(level: str, kv_type: str, softcap: float) -> None:
    for rows, head_dim in ((1, 256), (4, 64), (13, 12), (64, 72)):
        chunk = Chunk(rows, head_dim, seed=6)
        results = [attended_and_merged(name, chunk, softcap, kv_type) for name in (level, "generic")]
        for found, expected in zip(*results, strict=True):
            assert np.array_equal(bits(found), bits(expected))


@each_other_level
def test_levels_agree_on_parts_to_the_bit(level: str) -> None:
    chunks = [Chunk(70, 36, seed=11, n_keys=PART), Chunk(13, 256, seed=12, n_keys=2 * CHUNK), far_apart(9, 4 * CHUNK)]
    for chunk in chunks:
        results = [chunk.attend(name, kv_type="bf16") for name in (level, "generic")]
        for found, expected in zip(*results, strict=True):
            assert np.array_equal(bits(found), bits(expected))
