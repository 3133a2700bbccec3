"""Standard streams as callers leave them: closed, full, gone, or in an encoding that cannot hold the text."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

STDOUT = "standard output"  # what its errors call it


class _Closed(io.TextIOBase):
    """Stands for a closed standard output: whoever writes to it is told so."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.EBADF, "it is closed", STDOUT)


class _Named(io.FileIO):
    """Standard output whose errors say that it is."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            error.filename = STDOUT
            raise
        except OSError as error:
            from t5g._files import write_error

            raise write_error(error, STDOUT) from None


def prepare() -> None:
    """Make standard output and standard error fit to be written to.

    Results are UTF-8 in whatever locale, so that a file of them means the same everywhere; only a terminal knows better
    what it can show, and PYTHONIOENCODING is an order. A file name that is no text is written with escapes.
    """
    _reserve_descriptors()
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif type(sys.stdout) is io.TextIOWrapper:  # and not what a test or a host program has put there
        sys.stdout = _renewed(sys.stdout)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _renewed(old: io.TextIOWrapper) -> io.TextIOWrapper:
    old.flush()
    ordered = os.environ.get("PYTHONIOENCODING")
    return io.TextIOWrapper(
        io.BufferedWriter(_Named(old.fileno(), "wb", closefd=False)),
        encoding=old.encoding if ordered or old.isatty() else "utf-8",
        errors=old.errors if ordered else "backslashreplace",
        line_buffering=old.line_buffering,
    )


def _reserve_descriptors() -> None:
    """Open what is closed of 0, 1 and 2 as /dev/null: the next file would get the number, and strangers' messages."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) != descriptor:  # others are free below: not ours to order
                return


def drop_what_is_left() -> None:
    """Let standard output that takes no more go: Python would complain again when it writes it out at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
