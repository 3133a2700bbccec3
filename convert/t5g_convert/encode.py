"""float32 rows to the bytes of a type, by gguf's own encoders, so that the error is never above theirs."""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray
from t5g.errors import ModelFormatError

from t5g_convert.presets import F16, F32, TensorType

_MAX_F16 = 65504.0


def encode(where: str, values: NDArray[np.float32], type_: TensorType) -> NDArray[np.uint8]:
    """Encode finite `values` [rows, row_length]. `where` names file and tensor in errors."""
    values = np.ascontiguousarray(values, "<f4")
    if type_ is F32:
        return values.view(np.uint8)
    if type_ is F16:
        largest = float(np.abs(values).max(initial=0.0))
        if largest > _MAX_F16:
            raise ModelFormatError(f"{where}: the value {largest:g} does not fit f16. Choose another type, like bf16.")
        return values.astype("<f2").view(np.uint8)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # of blocks that are all zero, or nearly
        return quants.quantize(values, GGMLQuantizationType(type_.gguf_id))


def decode(data: NDArray[np.uint8], type_: TensorType) -> NDArray[np.float32]:
    """Decode the bytes of a type, rows first."""
    return quants.dequantize(data, GGMLQuantizationType(type_.gguf_id))
