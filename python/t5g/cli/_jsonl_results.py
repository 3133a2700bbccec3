"""Results of --jsonl: written line by line and in place, so that an interrupted run leaves what it has done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from t5g._files import check_output, writing_in_place
from t5g.batch import Nothing
from t5g.cli import _common
from t5g.cli._jsonl_input import Row, Rows
from t5g.cli._output import Output, Utf8, as_json
from t5g.cli._progress import StatusLine
from t5g.errors import InvalidArgumentError
from t5g.text_files import JsonLine, json_lines, printable

_SECONDS_BETWEEN_SIGHTS = 0.5


@contextmanager
def opened(path: str | None, *, inputs: list[Path], done: Rows | None) -> Iterator[Output]:
    """Open where results go.

    Parameters
    ----------
    path
        A file, or ``None`` for standard output.
    inputs
        Files that must not be overwritten.
    done
        The sources, where the results that the file has are to be kept: their sources are taken off.

    Raises
    ------
    OSError, InvalidArgumentError
        It cannot be written, or has something else than results of these sources.
    """
    if path is None:
        yield sys.stdout
        return
    check_output(path, inputs, streams=True)
    keep_bytes = 0
    if done is not None and Path(path).is_file():
        with Path(path).open("rb") as old:
            keep_bytes = _skip_done(old, printable(path), done)
    with writing_in_place(path, keep_bytes=keep_bytes) as file:
        yield Utf8(file)


def _skip_done(file: BinaryIO, name: str, rows: Rows) -> int:
    """Take off the sources whose results a file has. Gives the bytes of these: what follows is half a line."""
    n_bytes = 0
    for line in json_lines(file, name, encoding="utf-8"):
        if not line.data.endswith(b"\n"):
            break
        n_bytes = line.offset + len(line.data)
        _check_is_of(rows.next(wait=True), line)
    return n_bytes


def _check_is_of(row: Row | Nothing, line: JsonLine) -> None:
    result = line.parse()
    if not isinstance(result, dict) or "id" not in result:
        raise InvalidArgumentError(f"{line.name} is no result of --jsonl, so it cannot be gone on with.")
    if isinstance(row, Nothing):
        raise InvalidArgumentError(f"{line.name}: there are more results than sources. Is it of another input?")
    if result["id"] != row.id:
        raise InvalidArgumentError(
            f"{line.name} is the result of id {json.dumps(result['id'])}, but the source there ({row.where}) "
            f"has id {json.dumps(row.id)}. Is it of another input?"
        )


class Results:
    """Writes results, counts them, and shows on a terminal how far they have come."""

    def __init__(self, file: Output, prog: str) -> None:
        self._file = file
        self._prog = prog
        self._is_watched = sys.stderr.isatty() and not file.isatty()
        self._line = StatusLine()
        self._start = self._seen = time.monotonic()
        self._n_done = self._n_failed = self._n_new_tokens = 0
        self._first_error = ""

    def put(self, row: Row, fields: dict[str, Any]) -> None:
        """Write one, so that it lasts."""
        self._file.write(as_json({"id": row.id, **fields}) + "\n")
        self._file.flush()
        self._n_done += 1
        self._n_new_tokens += len(fields.get("token_ids", ()))
        if "error" in fields:
            self._n_failed += 1
            self._first_error = self._first_error or fields["error"]
        if self._is_watched and time.monotonic() > self._seen + _SECONDS_BETWEEN_SIGHTS:
            self._seen = time.monotonic()
            self._line.show(f"{self._prog}: {self._so_far()}")

    def clear(self) -> None:
        """Take what was shown away."""
        self._line.clear()

    def report(self, *, verbose: bool) -> int:
        """Say at the end what there is to say; give the exit status."""
        if verbose:
            sys.stderr.write(f"{self._prog}: {self._so_far()}\n")
        if not self._n_failed:
            return _common.DONE
        how_many = f'{self._n_failed:,} of {self._n_done:,} sources failed and have an "error" instead of a text'
        _common.report(self._prog, f"{how_many}. The first: {self._first_error}")
        return _common.FAILED

    def _so_far(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        return (
            f"{self._n_done:,} sources in {seconds:.1f} s ({self._n_done / seconds:.1f} per second, "
            f"{self._n_new_tokens / seconds:.0f} new tokens per second)"
        )
