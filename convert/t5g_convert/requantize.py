"""From one GGUF file to another with other types; what does not change type is copied byte for byte."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFValueType
from numpy.typing import NDArray
from t5g._core import GgufFile, GgufTensor
from t5g._files import check_output
from t5g.errors import ModelFormatError
from t5g.model_files import find_model

from t5g_convert.config import T5GEMMA, T5GEMMA2
from t5g_convert.encode import decode, encode
from t5g_convert.metadata import Metadata, Value
from t5g_convert.presets import BF16, EMBEDDING, F16, TYPES, Preset, TensorType, default_vision_type, parse_type
from t5g_convert.summary import Summary, TensorPlan, note_of_16_bits
from t5g_convert.threads import default_threads
from t5g_convert.writer import OutputTensor, write_gguf

_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_o", "ffn_gate", "ffn_up", "ffn_down")
_TABLES = ("token_embd.weight", "enc.token_embd.weight", "output.weight")
_VISION_PREFIXES = ("v.", "mm.")
_POSITIONS = "v.position_embd.weight"  # a table that is added, not multiplied with: stays as it is
_BLOCK = 32  # values, of every block type
_WRITERS_OWN = ("general.architecture", "general.alignment")


def quantize(
    in_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    type: str,
    *,
    pure: bool,
    vision_type: str | None,
    dry_run: bool,
    n_threads: int | None,
    progress: bool,
) -> Summary:
    """Do what `t5g_convert.quantize` documents."""
    start = time.perf_counter()
    chosen = parse_type(type)
    vision_chosen = parse_type(vision_type) if vision_type is not None else None
    source_path = find_model(in_path)
    file = GgufFile(source_path)
    architecture = file.get("general.architecture")
    if architecture not in (T5GEMMA, T5GEMMA2):
        raise ModelFormatError(
            f"{source_path}: the architecture is {architecture!r}, expected 't5gemma' or 't5gemma2'."
        )
    if file.get("general.type") == "adapter":
        raise ModelFormatError(f"{source_path}: is an adapter, expected a model. Adapters are not quantised.")
    out = check_output(out_path, [source_path])

    sides = ("encoder",) if file.get(f"{architecture}.encoder_only") else ("encoder", "decoder")
    preset = Preset(chosen, pure, min(_hidden_size(file, source_path, side) for side in sides))
    notes: list[str] = []
    plan = [(tensor, _source_type(source_path, tensor)) for tensor in file.tensors]
    tensors = [
        _output(source_path, file, tensor, source_type, _target_type(tensor, source_type, preset, vision_chosen))
        for tensor, source_type in plan
    ]
    lossy = {s.name for (_, s), t in zip(plan, tensors, strict=True) if s.is_quantised and s is not t.type}
    if lossy:
        notes.append(
            f"{source_path.name} is already quantised ({', '.join(sorted(lossy))}): "
            "its errors stay and new ones are added. Converting the checkpoint again gives a better file."
        )
    notes += _fallback_notes(tensors, preset.type, vision_chosen or default_vision_type(preset.type))
    size = 0
    if not dry_run:
        threads = n_threads or default_threads()
        metadata = _metadata(file, chosen)
        size = write_gguf(out, str(architecture), metadata, tensors, n_threads=threads, progress=progress)
    return Summary(
        path=out,
        architecture=str(architecture),
        size_bytes=size,
        source_size_bytes=sum(s.size_bytes(math.prod(t.shape)) for t, s in plan),
        seconds=time.perf_counter() - start,
        tokenizer="copied",
        tensors=tuple(
            TensorPlan(t.name, t.shape, t.type.name, t.size_bytes, s.name)
            for t, (_, s) in zip(tensors, plan, strict=True)
        ),
        notes=tuple(notes),
    )


def _hidden_size(file: GgufFile, path: Path, side: str) -> int:
    key = f"{file.get('general.architecture')}.{side}.embedding_length"
    value = file.get(key)
    if not isinstance(value, int):
        raise ModelFormatError(f"{path}: the key '{key}' is missing. This is no file of t5g-convert.")
    return value


def _source_type(path: Path, tensor: GgufTensor) -> TensorType:
    found = TYPES.get(tensor.type.lower())
    if found is None:
        raise ModelFormatError(
            f"{path}: tensor '{tensor.name}' has type {tensor.type}, which cannot be requantised. "
            f"Supported are {' '.join(TYPES)}."
        )
    return found


def _target_type(
    tensor: GgufTensor, source_type: TensorType, preset: Preset, vision_type: TensorType | None
) -> TensorType:
    """Choose the type: the preset's in the two stacks; in the vision tower as asked for, else never a wider one."""
    name, shape = tensor.name, tensor.shape
    if len(shape) < 2 or name == _POSITIONS:
        return source_type
    if name.startswith(_VISION_PREFIXES):
        if vision_type is None:
            default = default_vision_type(preset.type)
            narrower = default.size_bytes(_BLOCK) < source_type.size_bytes(_BLOCK)
            vision_type = default if narrower else source_type
        sixteen_bits = BF16 if source_type is BF16 else F16
        return vision_type if shape[-1] % vision_type.block_values == 0 else sixteen_bits
    if name in _TABLES:
        return preset.type_for(EMBEDDING, shape[-1])
    matrix = name.removesuffix(".weight").rpartition(".")[2].removeprefix("cross_")
    return preset.type_for(matrix, shape[-1]) if matrix in _MATRICES else source_type


def _fallback_notes(tensors: Sequence[OutputTensor], type: TensorType, vision_type: TensorType) -> list[str]:
    """Say which matrices are wider than asked for because their rows are no whole number of blocks."""
    kept = [
        t.name
        for t in tensors
        if len(t.shape) > 1
        and t.name != _POSITIONS
        and t.row_length % _BLOCK
        and (vision_type if t.name.startswith(_VISION_PREFIXES) else type).is_quantised
    ]
    return note_of_16_bits(kept)


def _output(
    path: Path, file: GgufFile, tensor: GgufTensor, source_type: TensorType, target_type: TensorType
) -> OutputTensor:
    """Plan one tensor, which is read a few rows at a time when it is written."""
    name, row_length = tensor.name, tensor.shape[-1]
    row_bytes = source_type.size_bytes(row_length)

    def rows(first: int, last: int) -> NDArray[np.uint8]:
        data: NDArray[np.uint8] = file.tensor_data(name, first, last)
        if source_type is target_type:
            return data
        values = decode(data.reshape(last - first, row_bytes), source_type)
        if not np.isfinite(values).all():
            raise ModelFormatError(f"{path}: tensor '{name}' holds NaN or infinite values.")
        return encode(f"{path}: tensor '{name}'", values, target_type)

    return OutputTensor(name, tensor.shape, target_type, rows)


def _metadata(file: GgufFile, file_type: TensorType) -> Metadata:
    pairs: Metadata = {}
    keys: list[str] = file.keys()
    for key in keys:
        value = parse_stored(file.stored_value(key))
        if key == "general.file_type":
            value = Value(file_type.file_type, GGUFValueType.UINT32)
        is_empty_array = value.element_type is not None and not value.value  # gguf writes none
        if key not in _WRITERS_OWN and not is_empty_array:
            pairs[key] = value
    return pairs


_NUMBERS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}


def parse_stored(stored: bytes) -> Value:
    """Read a value as the file has it (checked by the reader before). Strings stay bytes, so none can be altered."""
    kind, body = GGUFValueType(struct.unpack_from("<I", stored)[0]), stored[4:]
    if kind is not GGUFValueType.ARRAY:
        return Value(_elements(kind, 1, body)[0], kind)
    element, count = struct.unpack_from("<IQ", body)
    return Value(_elements(GGUFValueType(element), count, body[12:]), kind, GGUFValueType(element))


def _elements(kind: GGUFValueType, count: int, body: bytes) -> list[Any]:
    if kind is not GGUFValueType.STRING:
        numbers: list[Any] = np.frombuffer(body, _NUMBERS[kind], count).tolist()
        return numbers
    strings, position = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from("<Q", body, position)
        strings.append(body[position + 8 : position + 8 + length])
        position += 8 + length
    return strings
