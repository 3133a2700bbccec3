"""Kernels on plain numbers against float64, at every level: all on random rows, then what is special to each."""

import numpy as np
import pytest
from support.kernels import each_level, each_other_level
from support.row_kernels import REFERENCES, ROW_KERNELS, call, gelu_tanh, row_inputs
from support.testing_module import kernels
from t5g import UnsupportedError

SIZES = (1, 2, 15, 16, 17, 63, 64, 65, 100, 640, 1152)


@each_level
@pytest.mark.parametrize("name", ROW_KERNELS)
def test_results_are_right(level: str, name: str) -> None:
    for n in SIZES:
        given = row_inputs(name, n, seed=n)
        expected = REFERENCES[name](*(x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in given))
        for found, (exact, error) in zip(call(name, level, given), expected, strict=True):
            assert np.all(np.abs(found.astype(np.float64) - exact) <= error), f"n = {n}"


@each_other_level
@pytest.mark.parametrize("name", ROW_KERNELS)
def test_levels_agree_to_the_bit(level: str, name: str) -> None:
    for n in SIZES:
        given = row_inputs(name, n, seed=n)
        for found, exact in zip(call(name, level, given), call(name, "generic", given), strict=True):
            assert found.tobytes() == exact.tobytes(), f"n = {n}"


def test_repeating_is_calling_again() -> None:
    """What benchmarks time is the kernel, as often as they say."""
    x = np.linspace(-3, 3, 40, dtype=np.float32)
    once = kernels.softcap("generic", x, 2)
    assert np.array_equal(kernels.softcap("generic", x, 2, repeat=2), kernels.softcap("generic", once, 2))
    assert np.array_equal(kernels.geglu("generic", x, x, repeat=3), kernels.geglu("generic", x, x))


@each_level
def test_rms_norm_of_zeros_is_zero(level: str) -> None:
    assert not kernels.rms_norm(level, np.zeros(40, np.float32), np.ones(40, np.float32), 1e-6).any()


@each_level
@pytest.mark.parametrize("n", SIZES)
def test_layer_norm_of_numbers_with_a_large_mean(level: str, n: int) -> None:
    x, weight, bias, eps = row_inputs("layer_norm", n, seed=n)
    x += 100  # must not cost digits
    ((expected, _),) = REFERENCES["layer_norm"](x.astype(np.float64), weight, bias, eps)
    assert np.allclose(kernels.layer_norm(level, x, weight, bias, eps), expected, rtol=1e-5, atol=5e-5)


@each_level
def test_gelu_over_its_whole_range(level: str) -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 1e4, 200), -np.geomspace(1e-30, 6, 200)])
    x = x.astype(np.float32)
    expected, error = gelu_tanh(x.astype(np.float64))
    assert np.all(np.abs(kernels.geglu(level, x, np.ones_like(x)) - expected) <= error)
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
def test_log_sum_exp_of_numbers_far_from_zero(level: str, n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (-1000.0, 0.0, 1e5):
        x = (rng.standard_normal(n) * 5 + shift).astype(np.float32)
        exact = x.astype(np.float64)
        expected = exact.max() + np.log(np.exp(exact - exact.max()).sum())
        assert abs(kernels.log_sum_exp(level, x) - expected) <= 2e-7 * max(abs(expected), 5)
    assert kernels.log_sum_exp(level, np.full(n, -np.inf, np.float32)) == -np.inf


def test_unknown_level_is_an_error_that_lists_the_levels() -> None:
    with pytest.raises(UnsupportedError, match=r"'mmx'.*generic"):
        kernels.argmax("mmx", np.zeros(1, np.float32))
