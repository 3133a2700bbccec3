"""A safetensors writer of a few lines, so that tests of the converter need no torch, and can write damaged files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even; returns its bits as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16 bits to float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def as_stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return `values` as the file keeps them."""
    return to_bfloat16(values) if dtype == "BF16" else values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype])


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return what a reader of the file sees, as float32."""
    return from_bfloat16(to_bfloat16(values)) if dtype == "BF16" else as_stored(values, dtype).astype(np.float32)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """Write `tensors` (float32) in one dtype: BF16, F16, F32 or F64."""
    header, parts, offset = {}, [], 0
    for name, values in tensors.items():
        data = as_stored(values, dtype).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    write_raw(path, json.dumps({"__metadata__": {"format": "pt"}, **header}).encode(), b"".join(parts))


def write_raw(path: Path, header: bytes, data: bytes) -> None:
    """Write a file from its two parts, sound or not."""
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
