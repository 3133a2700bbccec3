"""Kernels on single rows against float64, at every level."""

import numpy as np
import pytest
from support.kernels import bits, each_level
from t5g import UnsupportedError
from t5g._core import kernels

SIZES = (1, 2, 15, 16, 17, 63, 64, 65, 100, 640, 1152)


def rows(n: int, seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(n) * 3).astype(np.float32) for _ in range(count)]


def gelu_tanh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value, in the form that does not cancel for negative x, and the relative error allowed in float."""
    x = x.astype(np.float64)
    exponent = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    # The exponent is right to 4 roundings, which weigh as much as it is large where e^exponent is the value.
    return x / (1 + np.exp(-exponent)), 2.0**-24 * (8 + 4 * np.maximum(-exponent, 0))


@each_level
@pytest.mark.parametrize("n", SIZES)
def test_rms_norm(level: str, n: int) -> None:
    x, weight, a = rows(n, n, 3)
    expected = x.astype(np.float64) / np.sqrt(np.mean(x.astype(np.float64) ** 2) + 1e-6) * weight
    found = kernels.rms_norm(level, x, weight, 1e-6)
    assert np.allclose(found, expected, rtol=1e-6, atol=0)
    added = kernels.add_rms_norm(level, a, x, weight, 1e-6)
    assert np.allclose(added, a + expected, rtol=1e-6, atol=1e-6)


@each_level
def test_rms_norm_of_zeros_is_zero(level: str) -> None:
    assert not kernels.rms_norm(level, np.zeros(40, np.float32), np.ones(40, np.float32), 1e-6).any()


@each_level
@pytest.mark.parametrize("n", SIZES)
def test_layer_norm(level: str, n: int) -> None:
    x, weight, bias = rows(n, n, 3)
    x += 100  # a large mean must not cost digits
    wide = x.astype(np.float64)
    expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-6) * weight + bias
    assert np.allclose(kernels.layer_norm(level, x, weight, bias, 1e-6), expected, rtol=1e-5, atol=5e-5)


@each_level
@pytest.mark.parametrize("n", SIZES)
def test_bias_gelu(level: str, n: int) -> None:
    x, bias = rows(n, n, 2)
    expected, error = gelu_tanh(x + bias)
    assert np.all(np.abs(kernels.bias_gelu(level, x, bias) - expected) <= error * np.abs(expected) + 1e-36)


@each_level
@pytest.mark.parametrize("n", SIZES)
def test_geglu(level: str, n: int) -> None:
    gate, up = rows(n, n, 2)
    expected, error = gelu_tanh(gate)
    assert np.all(np.abs(kernels.geglu(level, gate, up) - expected * up) <= error * np.abs(expected * up) + 1e-36)


@each_level
def test_gelu_over_its_whole_range(level: str) -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 1e4, 200), -np.geomspace(1e-30, 6, 200)])
    x = x.astype(np.float32)
    expected, error = gelu_tanh(x)
    assert np.all(np.abs(kernels.geglu(level, x, np.ones_like(x)) - expected) <= error * np.abs(expected) + 1e-36)
    assert not kernels.geglu(level, np.full(3, -1e30, np.float32), np.ones(3, np.float32)).any()


@each_level
@pytest.mark.parametrize("cap", [0.5, 30.0, 50.0])
def test_softcap_is_right_from_tiny_to_huge(level: str, cap: float) -> None:
    x = np.concatenate([np.geomspace(1e-30, 1e30, 3001), np.linspace(0, 8 * cap, 3001)]).astype(np.float32)
    x = np.concatenate([x, -x])
    expected = cap * np.tanh(x.astype(np.float64) / cap)
    assert np.allclose(kernels.softcap(level, x, cap), expected, rtol=6e-7, atol=0)
    for n in range(18):
        assert np.array_equal(kernels.softcap(level, x[:n], cap), kernels.softcap(level, x, cap)[:n])


@each_level
@pytest.mark.parametrize("head_dim", [4, 8, 12, 32, 36, 72, 256])
def test_rope(level: str, head_dim: int) -> None:
    (x,) = rows(head_dim, 1, 1)
    angles = np.linspace(0, 100, head_dim // 2)
    c, s = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = x[: head_dim // 2].astype(np.float64), x[head_dim // 2 :].astype(np.float64)
    expected = np.concatenate([first * c - second * s, second * c + first * s])
    assert np.allclose(kernels.rope(level, x, c, s), expected, rtol=0, atol=2e-6)


@each_level
@pytest.mark.parametrize("n", [1, 2, 16, 17, 1023, 1024, 1025, 5000])
def test_argmax_takes_the_first_of_equals(level: str, n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(-4, 4, n).astype(np.float32)
    assert kernels.argmax(level, x) == int(np.argmax(x))
    for at in {0, n // 2, n - 1}:
        y = x.copy()
        y[at] = 9
        assert kernels.argmax(level, y) == at


@each_level
def test_argmax_of_what_is_not_a_number(level: str) -> None:
    nan, inf = np.float32("nan"), np.float32("inf")
    x = np.full(2000, nan)
    assert kernels.argmax(level, x) == 0
    x[1500] = -inf
    assert kernels.argmax(level, x) == 1500
    x[1700] = -5
    assert kernels.argmax(level, x) == 1700
    x[[20, 21]] = inf
    assert kernels.argmax(level, x) == 20
    assert kernels.argmax(level, np.full(40, -inf)) == 0


@each_level
@pytest.mark.parametrize("n", [1, 3, 16, 33, 4097, 20000])
def test_log_sum_exp(level: str, n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (-1000.0, 0.0, 1e5):
        x = (rng.standard_normal(n) * 5 + shift).astype(np.float32)
        exact = x.astype(np.float64)
        expected = exact.max() + np.log(np.exp(exact - exact.max()).sum())
        assert abs(kernels.log_sum_exp(level, x) - expected) <= 2e-7 * max(abs(expected), 5)
    assert kernels.log_sum_exp(level, np.full(n, -np.inf, np.float32)) == -np.inf


@pytest.mark.parametrize("n", SIZES)
def test_levels_agree_to_the_bit(n: int) -> None:
    x, weight, a = rows(n, n, 3)
    results = [
        (
            kernels.rms_norm(level, x, weight, 1e-6),
            kernels.add_rms_norm(level, a, x, weight, 1e-6),
            kernels.geglu(level, x, a),
            kernels.softcap(level, x, 2.0),
            np.float32(kernels.log_sum_exp(level, x)),
        )
        for level, runs in kernels.levels()
        if runs
    ]
    for result in results:
        for found, expected in zip(result, results[0], strict=True):
            assert np.array_equal(bits(found), bits(expected))


def test_unknown_level_is_an_error_that_lists_the_levels() -> None:
    with pytest.raises(UnsupportedError, match=r"'mmx'.*generic"):
        kernels.argmax("mmx", np.zeros(1, np.float32))
