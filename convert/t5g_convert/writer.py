"""Writes a GGUF file tensor by tensor, while the next ones are being encoded."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.gguf_writer import WriterState
from numpy.typing import NDArray
from t5g._files import writing

from t5g_convert.metadata import Metadata
from t5g_convert.presets import TensorType

if TYPE_CHECKING:
    from io import BufferedWriter

_ALIGNMENT = 32
_CHUNK_VALUES = 2 << 20  # of one task: with all its temporaries about 40 MB


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to write: `rows(first, last)` gives the encoded bytes of these rows, from any thread."""

    name: str
    shape: tuple[int, ...]  # NumPy order
    type: TensorType
    rows: Callable[[int, int], NDArray[np.uint8]]

    @property
    def row_length(self) -> int:
        return self.shape[-1]

    @property
    def n_rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def size_bytes(self) -> int:
        return self.type.size_bytes(math.prod(self.shape))


def write_gguf(
    out_path: Path,
    architecture: str,
    metadata: Metadata,
    tensors: Sequence[OutputTensor],
    *,
    n_threads: int,
    progress: bool = False,
) -> int:
    """Write the file and return its size in bytes. On any failure, nothing is left behind. Raises OSError."""
    total = sum(_padded(t.size_bytes) for t in tensors)
    with writing(out_path, expected_bytes=total) as file:
        writer = GGUFWriter(None, architecture)
        for key, value in metadata.items():
            writer.add_key_value(key, value.value, value.type, value.element_type)
        for tensor in tensors:
            dtype = GGMLQuantizationType(tensor.type.gguf_id)
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.size_bytes, dtype)
        writer.fout, writer.state = [cast("BufferedWriter", file)], WriterState.EMPTY
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _pad(file, file.tell())
        _write_data(file, tensors, n_threads, total if progress else None)
        return file.tell()


def _write_data(file: BinaryIO, tensors: Sequence[OutputTensor], n_threads: int, progress_total: int | None) -> None:
    """Write the tensors in order, while a few pieces ahead are being encoded."""
    bar: Any = contextlib.nullcontext()
    if progress_total is not None:
        from tqdm import tqdm

        bar = tqdm(total=progress_total, unit="B", unit_scale=True, dynamic_ncols=True, leave=False)
    with ThreadPoolExecutor(n_threads) as pool, bar:
        pending: deque[tuple[Future[NDArray[np.uint8]], int]] = deque()

        def write_first() -> None:
            future, padding = pending.popleft()
            data = future.result()
            file.write(np.ascontiguousarray(data).data)
            file.write(bytes(padding))
            if progress_total is not None:
                bar.update(data.nbytes + padding)

        try:
            for tensor in tensors:
                padding = _padded(tensor.size_bytes) - tensor.size_bytes
                for first, last in _chunks(tensor):
                    pending.append((pool.submit(tensor.rows, first, last), padding if last == tensor.n_rows else 0))
                    if len(pending) > n_threads:
                        write_first()
            while pending:
                write_first()
        finally:
            for future, _ in pending:
                future.cancel()


def _chunks(tensor: OutputTensor) -> Iterator[tuple[int, int]]:
    step = max(1, _CHUNK_VALUES // max(1, tensor.row_length))
    for first in range(0, tensor.n_rows, step):
        yield first, min(first + step, tensor.n_rows)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _pad(file: BinaryIO, position: int) -> None:
    file.write(bytes(_padded(position) - position))
