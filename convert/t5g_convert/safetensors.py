"""A checked reader of safetensors checkpoints: a tensor is a byte range, proven inside its file before it is read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from t5g import text_files
from t5g._core import InputFile
from t5g.errors import InvalidArgumentError, ModelFormatError

from t5g_convert.folders import check_pointer

_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}
# How the floating-point types lie in memory; NumPy has no bfloat16, whose bits are the upper half of a float32.
_STORAGE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class SourceTensor:
    """One tensor of a checkpoint, not yet read."""

    name: str
    path: Path
    file: InputFile = field(repr=False)
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]

    def read_raw(self, first: int, count: int) -> NDArray[Any]:
        """Read `count` values from number `first` on, as they are stored (bfloat16 as uint16)."""
        if self.dtype not in _STORAGE:
            raise ModelFormatError(
                f"{self.path}: tensor '{self.name}' has dtype {self.dtype}, expected BF16, F16, F32 or F64."
            )
        item = _ITEM_BYTES[self.dtype]
        return self.file.read(self.offset + first * item, count * item).view(_STORAGE[self.dtype])

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Read `count` values from number `first` on as float32. Raises ModelFormatError on NaN and infinity."""
        raw = self.read_raw(first, count)
        if self.dtype == "BF16":
            values = (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            with np.errstate(over="ignore"):
                values = raw.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ModelFormatError(f"{self.path}: tensor '{self.name}' holds NaN or infinite values.")
        return values


def read_json(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds an object. Raises FileNotFoundError, ModelFormatError."""
    with path.open("rb") as file:
        check_pointer(path, file.read(64))
    try:
        content = text_files.read_json(path)
    except InvalidArgumentError as error:
        raise ModelFormatError(str(error)) from error
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content


class Checkpoint(dict[str, SourceTensor]):
    """All tensors of a checkpoint by name. What its files hold counts, as in transformers, not what its index says."""

    def __init__(self, tensors: Mapping[str, SourceTensor], weight_map: Mapping[str, str] | None = None) -> None:
        super().__init__(tensors)
        weight_map = weight_map or {}
        self.unlisted = frozenset(name for name in tensors if weight_map and name not in weight_map)
        """Tensors that the index does not name."""
        self.absent = {name: shard for name, shard in weight_map.items() if name not in tensors}
        """Tensors that the index names and no file has, with the file where it puts them."""


def open_checkpoint(folder: Path) -> Checkpoint:
    """List all tensors of a checkpoint folder, from `model.safetensors` or the shards of its index."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return Checkpoint(_read_header(single))
    if index.is_file():
        return _open_shards(index)
    if any(folder.glob("pytorch_model*.bin")):
        raise ModelFormatError(
            f"{folder}: holds pytorch_model*.bin only, expected model.safetensors. "
            "Save it again with transformers' save_pretrained."
        )
    if any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{folder}: found neither model.safetensors nor model.safetensors.index.json.")
    raise FileNotFoundError(f"{folder}: no model.safetensors. Is this the folder of a Hugging Face checkpoint?")


def open_file(path: Path) -> dict[str, SourceTensor]:
    """List all tensors of one safetensors file."""
    return _read_header(path)


def _open_shards(index: Path) -> Checkpoint:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise ModelFormatError(f"{index}: 'weight_map' is missing or does not map tensor names to file names.")
    tensors: dict[str, SourceTensor] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or shard in ("", ".", ".."):
            raise ModelFormatError(f"{index}: {shard!r} is not a plain file name.")
        path = index.parent / shard
        if not path.is_file():
            raise FileNotFoundError(f"{path}: this shard is named by {index.name} and missing. Download it again.")
        for name, tensor in _read_header(path).items():
            if name in tensors and weight_map.get(name) != shard:
                continue  # the index says which of two files it is
            tensors[name] = tensor
    return Checkpoint(tensors, weight_map)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _read_header(path: Path) -> dict[str, SourceTensor]:
    file = InputFile(os.fsencode(path))
    size = file.size_bytes
    check_pointer(path, file.read(0, min(64, size)).tobytes())
    length = int.from_bytes(file.read(0, min(8, size)).tobytes(), "little")
    if size < 8 or length > size - 8:
        raise ModelFormatError(
            f"{path}: the file ends inside its header ({size} bytes). It is truncated or no safetensors file."
        )
    if length > _MAX_HEADER_BYTES:
        raise ModelFormatError(f"{path}: a header of {length} bytes, expected at most {_MAX_HEADER_BYTES}.")
    text = file.read(8, length).tobytes()
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path}: the header is not valid JSON ({error}).") from error
    if not isinstance(header, dict):
        raise ModelFormatError(f"{path}: the header is not a JSON object.")
    header.pop("__metadata__", None)
    return _check_ranges(path, file, header, 8 + length)


def _check_ranges(path: Path, file: InputFile, header: Mapping[str, Any], data_start: int) -> dict[str, SourceTensor]:
    """Check that the tensors tile the data section without overlap or gap, as the format demands."""
    tensors: dict[str, SourceTensor] = {}
    ranges: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, begin, end = _check_entry(path, name, entry)
        tensors[name] = SourceTensor(name, path, file, dtype, shape, data_start + begin)
        ranges.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(ranges):
        if begin != position:
            kind = "overlaps the one before it" if begin < position else "leaves a gap before it"
            raise ModelFormatError(f"{path}: tensor '{name}' {kind} (offset {begin}, expected {position}).")
        position = end
    if data_start + position > file.size_bytes:
        raise ModelFormatError(
            f"{path}: truncated: {file.size_bytes} bytes, its header describes {data_start + position}. "
            "Download it again."
        )
    return tensors


def _check_entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    where = f"{path}: tensor '{name}'"
    if not isinstance(entry, dict):
        raise ModelFormatError(f"{where}: its header entry is not an object.")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ModelFormatError(f"{where}: unknown dtype {dtype!r}.")
    if not _is_counts(shape) or len(shape) > 8:
        raise ModelFormatError(f"{where}: bad shape {shape!r}.")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelFormatError(f"{where}: bad data_offsets {offsets!r}.")
    expected = math.prod(shape) * _ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != expected:
        raise ModelFormatError(
            f"{where}: {offsets[1] - offsets[0]} bytes, expected {expected} for {dtype} {list(shape)}."
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _is_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)
