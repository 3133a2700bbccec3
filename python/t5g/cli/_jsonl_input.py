"""Lines of --jsonl, as they come, and the source that each of them is.

They are read by a thread of their own: the batch goes on while a slow producer thinks, and a producer that waits for an
answer before it writes on gets it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from t5g.batch import Nothing
from t5g.errors import InvalidArgumentError
from t5g.text_files import Errors, JsonLine, json_lines, printable

_FIELDS = ("text", "images", "decoder_prefix", "id")
_LINES_AHEAD = 64  # that are read before their turn comes
_SECONDS_BETWEEN_SIGNALS = 0.1
_MAX_STRANGERS = 10  # fields that are told of


@dataclass(frozen=True)
class Row:
    """One source.

    Attributes
    ----------
    id
        What its line gives as such, or the number of the line through all files.
    where
        File and line, for messages.
    text, images, decoder_prefix
        What the line gives; images are paths.
    error
        What is wrong with the line, if anything; the fields are then empty.
    """

    id: Any
    where: str
    text: str = ""
    images: list[str] | None = None
    decoder_prefix: str | list[int] | None = None
    error: InvalidArgumentError | None = None


class Rows:
    """The sources of all files, blank lines left out.

    Parameters
    ----------
    paths
        The files; ``"-"`` is standard input.
    encoding, errors
        As in :func:`t5g.text_files.decode`.
    tell
        Called with what a user should know: fields that nobody reads.
    """

    def __init__(
        self, paths: Sequence[str], *, encoding: str | None, errors: Errors, tell: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._encoding = encoding
        self._errors = errors
        self._tell = tell
        self._strangers: set[str] = set()
        self._queue: queue.Queue[tuple[int, JsonLine] | Exception | None] = queue.Queue(_LINES_AHEAD)
        threading.Thread(target=self._fill, daemon=True).start()

    def next(self, wait: bool) -> Row | Nothing:
        """Give the next one, or say that it has not come yet (not where it may wait) or that there is none.

        Raises
        ------
        OSError
            A file cannot be read.
        """
        try:
            item = self._wait() if wait else self._queue.get_nowait()
        except queue.Empty:
            return Nothing.YET
        if item is None or isinstance(item, Exception):
            self._queue.put(item)  # for whoever asks again
            if item is not None:
                raise item
            return Nothing.LEFT
        return self._row(*item)

    def _wait(self) -> tuple[int, JsonLine] | Exception | None:
        """Take what comes next. Python tells nobody who waits for a lock of a Ctrl-C that came just before."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=_SECONDS_BETWEEN_SIGNALS)

    # ---- Lines, in a thread ----

    def _fill(self) -> None:
        try:
            for item in self._lines():
                self._queue.put(item)
            self._queue.put(None)
        except Exception as error:
            self._queue.put(error)

    def _lines(self) -> Iterator[tuple[int, JsonLine]]:
        number = 0
        for path in self._paths:
            name = "standard input" if path == "-" else printable(path)
            with _opened(path) as file:
                for line in json_lines(file, name, encoding=self._encoding):
                    number += 1
                    if not line.is_blank():
                        yield number, line

    # ---- Rows ----

    def _row(self, number: int, line: JsonLine) -> Row:
        key: Any = number
        try:
            fields = line.parse(self._errors)
            if not isinstance(fields, dict):
                raise InvalidArgumentError(f"{line.name}: expected an object, found {_shown(fields)}.")
            key = number if fields.get("id") is None else fields["id"]
            self._tell_of_strangers(line, fields)
            text: Any = fields.get("text")
            images, prefix = fields.get("images"), fields.get("decoder_prefix")
            _check(line, fields, "text", isinstance(text, str), "a string")
            several = [images] if isinstance(images, str) else images
            _check(line, fields, "images", several is None or _all(several, str), "a path or a list of paths")
            is_text = prefix is None or isinstance(prefix, str)
            _check(line, fields, "decoder_prefix", is_text or _all(prefix, int), "a string or a list of token ids")
        except InvalidArgumentError as error:
            return Row(key, line.name, error=error)
        return Row(key, line.name, text, several, prefix)

    def _tell_of_strangers(self, line: JsonLine, fields: dict[str, Any]) -> None:
        for name in fields.keys() - set(_FIELDS) - self._strangers:
            if len(self._strangers) < _MAX_STRANGERS:
                self._strangers.add(name)
                self._tell(f'{line.name}: the field "{name}" is not read; those that are: {", ".join(_FIELDS)}')


def _opened(path: str) -> BinaryIO:
    # Not sys.stdin: when Python ends, it would wait for the thread that reads there.
    return open(0, "rb", closefd=False) if path == "-" else Path(path).open("rb")


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)


def _check(line: JsonLine, fields: dict[str, Any], name: str, is_right: bool, expected: str) -> None:
    if not is_right:
        found = f"is {_shown(fields[name])}" if name in fields else "is missing"
        raise InvalidArgumentError(f'{line.name}: "{name}" {found}, expected {expected}.')


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
