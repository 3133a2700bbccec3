"""Where results go: standard output, or the file of --output as UTF-8."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol


class Output(Protocol):
    """What results are written to."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


class Utf8:
    """Writes text to a file. Holds nothing back, so that nothing is left to be written when the file is given up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str, /) -> int:
        return self._file.write(text.encode())

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def whole(path: str | None, inputs: list[Path]) -> Iterator[Output]:
    """Open standard output, or a file, none of `inputs`, that appears when the block ends without an exception."""
    if path is None:
        yield sys.stdout
        return
    from t5g._files import check_output, writing

    check_output(path, inputs, streams=True)
    with writing(path, streams=True) as file:
        yield Utf8(file)


def as_json(value: Any, *, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """Give the JSON of a result. A number that is not finite is null: JSON has no word for it, and readers fail."""
    try:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=ensure_ascii, indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def files(names: Iterable[str | None]) -> list[Path]:
    """Those of some arguments that name files that are there."""
    return [Path(name) for name in names if name is not None and os.path.exists(name)]  # noqa: PTH110  of any length
