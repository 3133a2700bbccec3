"""Matrix products of every type at every level: right, and the same to the bit however the work is cut."""

import numpy as np
import pytest
from support.kernels import FLOATS, QUANTIZED, bits, decode, each_level, each_other_level, each_type, encode
from support.testing_module import kernels

M_VALUES = (0, 1, 2, 3, 5, 8, 13, 17)


def random_matrix(type_name: str, n: int, k: int, seed: int) -> tuple[kernels.PackedMatrix, np.ndarray]:
    """A packed matrix and the float64 matrix that it stands for."""
    rng = np.random.default_rng(seed)
    rows = encode(type_name, rng.standard_normal((n, k)) * rng.uniform(0.1, 3, (n, 1)))
    return kernels.PackedMatrix(type_name, rows, n, k), decode(type_name, rows, n, k).astype(np.float64)


def activations(m: int, k: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((m, k)) * rng.uniform(0.01, 100, (m, 1))).astype(np.float32)


def dequantized_activations(level: str, x: np.ndarray) -> np.ndarray:
    """What is left of x after the rounding to int8."""
    out = np.zeros(x.shape)
    for i, row in enumerate(x):
        values, scales, _ = kernels.quantize_row(level, row)
        out[i] = values.astype(np.float64) * np.repeat(scales.astype(np.float64), 32)
    return out


def used_activations(level: str, type_name: str, x: np.ndarray) -> np.ndarray:
    """The activations that weights of this type are multiplied with."""
    if type_name == "BF16" and x.size:
        return decode("BF16", encode("BF16", x), *x.shape).astype(np.float64)
    return x.astype(np.float64) if type_name in FLOATS else dequantized_activations(level, x)


@each_level
@each_type
@pytest.mark.parametrize(("n", "k"), [(1, 32), (15, 64), (16, 32), (33, 160), (100, 256), (176, 32)])
def test_matmul(level: str, type_name: str, n: int, k: int) -> None:
    matrix, weight = random_matrix(type_name, n, k, seed=n)
    for m in M_VALUES:
        x = activations(m, k, seed=m)
        exact = used_activations(level, type_name, x)
        found = kernels.matmul(level, matrix, x)
        assert found.shape == (m, n)
        # Each addition, of k products or of k / 32 blocks, rounds to within 2^-24 of a partial sum.
        largest = 2 * np.abs(weight).max(axis=1)  # twice: in Q4_1 and Q5_1 a value is the difference of larger ones
        bound = 2.0**-23 * (k if type_name in FLOATS else k / 8) ** 0.5 * np.outer(np.abs(exact).sum(axis=1), largest)
        assert np.all(np.abs(found - exact @ weight.T) <= bound + 1e-30)


@each_level
@pytest.mark.parametrize("type_name", FLOATS)
@pytest.mark.parametrize("k", [1, 2, 7, 31, 33])
def test_float_types_take_any_k(level: str, type_name: str, k: int) -> None:
    matrix, weight = random_matrix(type_name, 21, k, seed=k)
    x = activations(9, k, seed=k)
    assert np.allclose(
        kernels.matmul(level, matrix, x), used_activations(level, type_name, x) @ weight.T, rtol=1e-5, atol=1e-4
    )


@each_level
@each_type
def test_an_output_depends_on_its_own_row_only(level: str, type_name: str) -> None:
    n, k, m = 150, 96, 61
    matrix, _ = random_matrix(type_name, n, k, seed=3)
    x = activations(m, k, seed=4)
    alone = np.concatenate([kernels.matmul(level, matrix, x[i : i + 1]) for i in range(m)])
    for count in (*range(2, 30), *range(49, m + 1)):  # of more than 48, other tiles are made
        assert np.array_equal(bits(kernels.matmul(level, matrix, x[m - count :])), bits(alone[m - count :]))


@each_level
@pytest.mark.parametrize("type_name", QUANTIZED)
def test_many_rows_of_many_blocks(level: str, type_name: str) -> None:
    n, k, m = 40, 33 * 32, 141
    matrix, _ = random_matrix(type_name, n, k, seed=8)
    x = activations(m, k, seed=9)
    alone = np.concatenate([kernels.matmul(level, matrix, x[i : i + 1]) for i in range(m)])
    assert np.array_equal(bits(kernels.matmul(level, matrix, x)), bits(alone))


@each_level
@each_type
@pytest.mark.parametrize("m", [1, 2, 7])
def test_groups_may_be_split_in_any_way(level: str, type_name: str, m: int) -> None:
    n, k = 150, 64
    matrix, _ = random_matrix(type_name, n, k, seed=5)
    x = activations(m, k, seed=6)
    whole = bits(kernels.matmul(level, matrix, x))
    for begin in range(matrix.n_groups):
        for end in range(begin, matrix.n_groups + 1):
            part = kernels.matmul(level, matrix, x, begin, end)
            columns = slice(16 * begin, min(16 * end, n))
            assert np.array_equal(bits(part[:, columns]), whole[:, columns])
            assert np.isnan(np.delete(part, np.arange(n)[columns], axis=1)).all()  # nothing else was written


@each_other_level
@each_type
@pytest.mark.parametrize(("m", "k"), [(1, 224), (4, 224), (11, 224), (139, 1056)])
def test_levels_agree_to_the_bit(level: str, type_name: str, m: int, k: int) -> None:
    matrix, _ = random_matrix(type_name, 85, k, seed=7)
    x = activations(m, k, seed=8)
    assert np.array_equal(bits(kernels.matmul(level, matrix, x)), bits(kernels.matmul("generic", matrix, x)))


@each_level
@pytest.mark.parametrize("type_name", QUANTIZED)
def test_extreme_blocks_do_not_overflow(level: str, type_name: str) -> None:
    # All bits set, sign bits, zeros: the largest magnitudes that the integer products can meet.
    n, k = 16, 128
    block_bytes = kernels.PackedMatrix(type_name, encode(type_name, np.zeros((1, 32))), 1, 32).size_bytes // 16
    scale = np.float16(0.5).tobytes()
    for fill in (0x00, 0x7F, 0x80, 0x81, 0xFF):
        block = np.full(block_bytes, fill, np.uint8)
        block[:2] = np.frombuffer(scale, np.uint8)
        if type_name.endswith("1"):
            block[2:4] = np.frombuffer(scale, np.uint8)
        rows = np.tile(block, n * k // 32)
        weight = decode(type_name, rows, n, k).astype(np.float64)
        for value in (-1.0, 1.0):
            x = np.full((3, k), value, np.float32)
            found = kernels.matmul(level, kernels.PackedMatrix(type_name, rows, n, k), x)
            assert np.allclose(found, x @ weight.T, rtol=1e-6)


@each_level
def test_quantised_activations(level: str) -> None:
    rng = np.random.default_rng(9)
    x = (rng.standard_normal((40, 32)) * 10.0 ** rng.integers(-20, 20, (40, 1))).astype(np.float32)
    x[3] = 0
    x[4] = 1e-38  # a block too small to be scaled counts as zero
    x[5] = [127.5 - i for i in range(32)]  # ties
    values, scales, sums = kernels.quantize_row(level, x.ravel())
    blocks = values.reshape(40, 32).astype(np.int64)
    largest = np.abs(x).max(axis=1)
    assert np.array_equal(sums, blocks.sum(axis=1))
    assert np.array_equal(scales, np.where(largest > 1e-30, largest / np.float32(127), 0).astype(np.float32))
    # The product with the reciprocal is exact in float64 and is rounded once, to even.
    inverse = np.where(largest > 1e-30, np.float32(127) / np.maximum(largest, np.float32(1e-30)), 0).astype(np.float32)
    assert np.array_equal(blocks, np.rint(x.astype(np.float64) * inverse[:, None].astype(np.float64)))
    assert not blocks[3:5].any()
    reference = kernels.quantize_row("generic", x.ravel())
    assert np.array_equal(values, reference[0])


@each_level
@pytest.mark.parametrize("k", [1, 2, 15, 16, 33, 640])
def test_rounded_activations(level: str, k: int) -> None:
    rng = np.random.default_rng(k)
    x = (rng.standard_normal(k) * 10.0 ** rng.integers(-30, 30, k)).astype(np.float32)
    x[::7] = np.float32(1 + 2.0**-8)  # ties go to the even one
    x[1::7] = np.float32(1 + 3 * 2.0**-8)
    found = kernels.round_row(level, x)
    assert found.dtype == np.uint16
    assert found.size == k + k % 2
    assert np.array_equal(found[:k], encode("BF16", x[None]).view(np.uint16))
    assert not found[k:].any()
    assert set(found[:k:7]) == {0x3F80}
    assert set(found[1:k:7]) <= {0x3F82}
