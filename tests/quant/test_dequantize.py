"""Every format decodes to the bit as gguf-py decodes it."""

import gguf
import numpy as np
import pytest
from support.kernels import TYPES, bits, decode, each_type, encode
from support.testing_module import kernels
from t5g import InvalidArgumentError


def test_the_table_of_types_says_what_gguf_py_says() -> None:
    for name, gguf_id, block_values, block_bytes in kernels.types():
        assert gguf.GGMLQuantizationType(gguf_id).name == name
        assert gguf.GGML_QUANT_SIZES[TYPES[name]] == (block_values, block_bytes)


@each_type
def test_encoded_weights_decode_as_in_gguf_py(type_name: str) -> None:
    rng = np.random.default_rng(1)
    rows = encode(type_name, rng.standard_normal((7, 96)) * 10.0 ** rng.integers(-6, 4, (7, 1)))
    expected = decode(type_name, rows, 7, 96)
    assert np.array_equal(bits(kernels.dequantize(type_name, rows)), bits(expected.ravel()))


@each_type
def test_any_bytes_decode_as_in_gguf_py(type_name: str) -> None:
    block_bytes = gguf.GGML_QUANT_SIZES[TYPES[type_name]][1]
    rows = np.random.default_rng(2).integers(0, 256, 500 * block_bytes, dtype=np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = decode(type_name, rows, 1, -1).ravel()
    found = kernels.dequantize(type_name, rows)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    finite = ~np.isnan(expected)
    assert np.array_equal(bits(found[finite]), bits(expected[finite]))


def test_half_a_block_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="whole number of blocks"):
        kernels.dequantize("Q8_0", np.zeros(33, np.uint8))


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="q3_7"):
        kernels.dequantize("q3_7", np.zeros(32, np.uint8))
