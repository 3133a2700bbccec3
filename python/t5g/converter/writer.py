"""Writes a GGUF file tensor by tensor and all or nothing: a temporary file takes the final name only when complete."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray

from t5g.converter.metadata import Metadata
from t5g.converter.presets import TensorType
from t5g.errors import InvalidArgumentError

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


def check_output(out_path: Path, inputs: Sequence[Path]) -> Path:
    """Give the real path to write. Raises for what must not be overwritten, and for a folder that is not there."""
    out_path = Path(os.path.realpath(out_path))
    if not out_path.parent.is_dir():
        raise FileNotFoundError(f"{out_path.parent}: no such folder to write {out_path.name} to.")
    if out_path.is_dir():
        raise IsADirectoryError(f"{out_path}: is a folder. Give the name of the file to write.")
    if out_path.exists():
        if not out_path.is_file():
            raise InvalidArgumentError(f"{out_path}: exists and is no regular file. Give another name.")
        if any(path.exists() and path.samefile(out_path) for path in inputs):
            raise InvalidArgumentError(f"{out_path}: is the input. Give another name.")
    return out_path


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
    with _atomic_file(out_path, total) as temporary:
        writer = GGUFWriter(temporary, architecture)
        try:
            for key, value in metadata.items():
                writer.add_key_value(key, value.value, value.type, value.element_type)
            for tensor in tensors:
                dtype = GGMLQuantizationType(tensor.type.gguf_id)
                writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.size_bytes, dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            assert writer.fout is not None
            file = writer.fout[0]
            _pad(file, file.tell())
            _write_data(file, tensors, n_threads, total if progress else None)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        finally:
            with contextlib.suppress(OSError):  # a full disk fails again here, after it has been reported
                writer.close()
    return size


def _write_data(file: IO[bytes], tensors: Sequence[OutputTensor], n_threads: int, progress_total: int | None) -> None:
    """Write the tensors in order, while a few chunks ahead are being encoded."""
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


def _pad(file: IO[bytes], position: int) -> None:
    file.write(bytes(_padded(position) - position))


@contextlib.contextmanager
def _atomic_file(out_path: Path, expected_bytes: int) -> Iterator[Path]:
    """Give a temporary path beside `out_path`, renamed to it at the end, removed on any exception."""
    free = _free_bytes(out_path.parent)
    if free is not None and free < expected_bytes:
        what = f"No space left on device: {expected_bytes / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free"
        raise OSError(errno.ENOSPC, what, str(out_path))
    temporary = out_path.with_name(f".{out_path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(out_path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise  # from reading an input
        raise OSError(error.errno, os.strerror(error.errno), str(out_path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _free_bytes(folder: Path) -> int | None:
    try:
        info = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return info.f_bavail * info.f_frsize if info.f_blocks else None  # not all file systems count
