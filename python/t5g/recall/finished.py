"""Finished examples in a file, one JSON object a line, so that a run of hours that was interrupted goes on.

The first line says what the examples are of. A line counts once its line feed is written: what an interruption has cut
off at the end is dropped, anything else that does not fit is an error, since the file may be another one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t5g._files import check_output, writing_in_place
from t5g.errors import InvalidArgumentError

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.recall.measure import Settings

_ADVICE = "Give another file to resume from, or remove it."


class Finished:
    """Examples by key.

    Parameters
    ----------
    path
        The file; made where there is none. ``None``: they are kept in memory alone.
    header
        What they are of (see `header_of`): a file that says otherwise is refused.
    inputs
        Files that must not be written to.

    Attributes
    ----------
    rows
        What was found, by key.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        header: dict[str, Any] | None = None,
        inputs: Iterable[Path] = (),
    ) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._path = None
        if path is None:
            return
        self._path = check_output(path, inputs)
        header = header or {}
        first = _line({"settings": header})
        data = self._path.read_bytes() if self._path.exists() else b""
        if first.startswith(data):  # new, empty, or cut in the first line
            self._write(first, 0)
            self._size = len(first)
            return
        self._size = data.rfind(b"\n") + 1
        lines = data[: self._size].split(b"\n")[:-1]
        self._check(lines[0] if lines else b"", header)
        for number, line in enumerate(lines[1:], 2):
            row = _parsed(line)
            if not {"key", "length", "depth", "choice", "logprob"} <= row.keys():
                raise InvalidArgumentError(f"{self._path}, line {number}: is no finished example. {_ADVICE}")
            self.rows[row["key"]] = row

    def add(self, row: dict[str, Any]) -> None:
        """Keep an example, in the file before anything else is done."""
        self.rows[row["key"]] = row
        if self._path is not None:
            line = _line(row)
            self._write(line, self._size)
            self._size += len(line)

    def _check(self, line: bytes, header: dict[str, Any]) -> None:
        found = _parsed(line).get("settings")
        if not isinstance(found, dict):
            raise InvalidArgumentError(f"{self._path}: is no file of finished examples. {_ADVICE}")
        for name, expected in header.items():
            if name not in found or found[name] != expected:
                what = f"{name} is {json.dumps(found.get(name))}, expected {json.dumps(expected)}"
                raise InvalidArgumentError(f"{self._path}: is not of a run with these settings: {what}. {_ADVICE}")

    def _write(self, line: bytes, size: int) -> None:
        assert self._path is not None
        with writing_in_place(self._path, keep_bytes=size) as file:
            file.write(line)


def header_of(settings: Settings, model: Model, reference: Model | None, text: str) -> dict[str, Any]:
    """What examples of one file have in common; their length and depth each of them says itself."""
    return {
        "task": settings.task,
        "generate": settings.generate,
        "seed": settings.seed,
        "model": _name(model),
        "device": model.device,
        "kv_type": model.kv_type,
        "source_cache": model.source_cache,
        "source_cache_budget": model.source_cache_budget,
        "encoder_window": model.encoder_window,
        "adapters": dict(model.adapters),
        "reference": None if reference is None else _name(reference),
        "haystack": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    }


def _name(model: Model) -> str:
    """The file's name and size: one that was made anew differs mostly."""
    path = Path(model.path)
    return f"{path.name}, {path.stat().st_size} bytes"


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _parsed(line: bytes) -> dict[str, Any]:
    """The object of a line, or an empty one."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
