"""Writing files: the one way in which t5g does it, for Python code (csrc/base/output_file.h has the rules)."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from t5g import _core
from t5g.errors import InvalidArgumentError

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_BUFFER_BYTES = 1 << 16


def check_output(path: AnyPath, inputs: Iterable[Path] = (), *, streams: bool = False) -> Path:
    """Find out where writing to a path leads, before work is spent on what will be written.

    Parameters
    ----------
    path
        The file to be written; symbolic links are followed.
    inputs
        Files that must not be overwritten.
    streams
        As for `writing`.

    Returns
    -------
    Path
        The real path.

    Raises
    ------
    OSError
        The path is a folder or in none, or may not be written.
    InvalidArgumentError
        It is no regular file, or one of the inputs.
    """
    target = _core.find_output(os.fsencode(path))
    if target.kind == "stream" and not streams:
        raise InvalidArgumentError(f"{_shown(path)}: exists and is no regular file. Give another name.")
    if target.kind == "file" and any(file.exists() and file.samefile(target.path) for file in inputs):
        raise InvalidArgumentError(f"{_shown(path)}: is the input. Give another name.")
    return target.path


@contextlib.contextmanager
def writing(path: AnyPath, *, expected_bytes: int = 0, streams: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears when the block ends, and not at all when it ends with an exception.

    Parameters
    ----------
    path
        The file. One that is there is replaced, and leaves its mode to the new one.
    expected_bytes
        Raise at once where the file system has less room than that.
    streams
        Write to pipes and character devices (/dev/stdout, /dev/fd/3) as well, which cannot be replaced: what has been
        written stays written. For writers that go from the beginning to the end. Otherwise they are refused.

    Raises
    ------
    OSError
        The file cannot be written; the old one is untouched, and nothing is left behind.
    InvalidArgumentError
        The path is a socket, a block device, or a stream where none is asked for.
    """
    if streams and (target := _core.find_output(os.fsencode(path))).kind == "stream":
        with _buffered(_open_stream(target), path, closefd=True) as file:
            yield file
        return
    output = _core.OutputFile(os.fsencode(path), expected_bytes)
    try:
        with _buffered(output.fileno(), path, closefd=False) as file:
            yield file
        output.commit()
    finally:
        output.discard()


@contextlib.contextmanager
def writing_in_place(path: AnyPath, *, keep_bytes: int = 0) -> Iterator[BinaryIO]:
    """Open a file for records that count as soon as each is flushed, and that an interrupted run must not lose.

    Parameters
    ----------
    path
        The file, or a stream as for `writing`. What a file has is written over, so its links and its mode stay.
    keep_bytes
        What stays of it, and is gone on with; the rest is cut off.

    Raises
    ------
    OSError, InvalidArgumentError
        As `writing` does. A stream has nothing to keep.
    """
    target = _core.find_output(os.fsencode(path))
    if target.kind == "stream":
        if keep_bytes:
            raise InvalidArgumentError(f"{_shown(path)}: is no regular file, so nothing in it can be kept.")
        descriptor = _open_stream(target)
    else:
        with _told(path):
            descriptor = os.open(target.path, os.O_WRONLY | os.O_CREAT, 0o666)
            os.ftruncate(descriptor, keep_bytes)
            os.lseek(descriptor, keep_bytes, os.SEEK_SET)
    with _buffered(descriptor, path, closefd=True) as file:
        yield file


def write_text(path: AnyPath, text: str) -> None:
    """Write a text as UTF-8, to a stream as well: see `writing`."""
    with writing(path, streams=True) as file:
        file.write(text.encode())


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is to lie in, where they are not there yet."""
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)


def write_error(error: OSError, path: AnyPath) -> OSError:
    """Say what the writing of a file has met with, and what to do about it, in the core's words."""
    return error if error.errno is None else OSError(error.errno, _core.writing_error(os.fsencode(path), error.errno))


@contextlib.contextmanager
def _told(path: AnyPath) -> Iterator[None]:
    """Turn errors of the system's calls into those that name the file that was asked for."""
    try:
        yield
    except OSError as error:
        raise write_error(error, path) from None


def _open_stream(target: _core.OutputTarget) -> int:
    with _told(target.path):
        return os.dup(target.descriptor) if target.descriptor >= 0 else os.open(target.path, os.O_WRONLY)


@contextlib.contextmanager
def _buffered(descriptor: int, path: AnyPath, *, closefd: bool) -> Iterator[BinaryIO]:
    """A buffer that is written out at the end of the block, but not after an exception, which would hide that one."""
    with _Named(descriptor, path, closefd=closefd) as raw:
        file = io.BufferedWriter(raw, _BUFFER_BYTES)
        yield file
        file.flush()


class _Named(io.FileIO):
    """A descriptor whose errors name the file that its content is meant for."""

    def __init__(self, descriptor: int, path: AnyPath, *, closefd: bool) -> None:
        super().__init__(descriptor, "wb", closefd=closefd)
        self._path = path

    def write(self, data: Any, /) -> int:
        with _told(self._path):
            return super().write(data)


def _shown(path: AnyPath) -> str:
    return os.fsdecode(path)
