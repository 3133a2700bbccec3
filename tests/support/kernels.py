"""What the kernel tests share: levels as test parameters, random weights of every type."""

import gguf
import numpy as np
import pytest
from support.testing_module import kernels

# Data type -> gguf-py's number for it, for every row of csrc/quant/types.inc.
TYPES = {name: gguf.GGMLQuantizationType(gguf_id) for name, gguf_id, _, _ in kernels.types()}
QUANTIZED = [name for name in TYPES if name.startswith("Q")]
FLOATS = [name for name in TYPES if not name.startswith("Q")]

# Every level of the build; those that this CPU cannot run show up as skipped, by name.
LEVELS = [
    pytest.param(name, id=name, marks=[] if runs else pytest.mark.skip(reason=f"this CPU cannot run {name}"))
    for name, runs in kernels.levels()
]
each_level = pytest.mark.parametrize("level", LEVELS)
# Those that are compared with the portable one, which is the first.
_NONE = pytest.param("generic", marks=pytest.mark.skip(reason="this build has no other level"))
each_other_level = pytest.mark.parametrize("level", LEVELS[1:] or [_NONE])
each_type = pytest.mark.parametrize("type_name", list(TYPES))


def encode(type_name: str, weight: np.ndarray) -> np.ndarray:
    """The bytes of a matrix [n, k] in this type, as gguf-py encodes it."""
    return (
        np.ascontiguousarray(gguf.quants.quantize(weight.astype(np.float32), TYPES[type_name])).view(np.uint8).ravel()
    )


def decode(type_name: str, rows: np.ndarray, n: int, k: int) -> np.ndarray:
    """The matrix [n, k] that these bytes stand for, as gguf-py decodes it."""
    return gguf.quants.dequantize(rows.reshape(n, -1), TYPES[type_name]).reshape(n, k)


def bits(x: np.ndarray) -> np.ndarray:
    """The bit patterns of floats, for comparisons in which -0 differs from 0."""
    return np.asarray(x, np.float32).view(np.uint32)
