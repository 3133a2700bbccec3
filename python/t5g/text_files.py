"""Text from files as people have them: a byte order mark says what they are, and a byte that is no text is an error.

Without a mark and without an encoding given, text is UTF-8; JSON also tells UTF-16 and UTF-32 by its zero bytes.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from t5g.errors import InvalidArgumentError
from t5g.messages import about

Errors: TypeAlias = Literal["strict", "replace"]

# Longest first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_MARK = 4
# Names that mean "as the mark says": what they are where there is none.
_WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_ADVICE = "Name its encoding (--encoding latin-1, ...), or go on with U+FFFD in such places (--errors replace)."
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def check_encoding(encoding: str) -> str:
    """Give Python's name of a text encoding. Raises InvalidArgumentError for a name that is none."""
    try:
        name = codecs.lookup(encoding).name
        b"a".decode(encoding)  # refuses codecs that make no text, such as base64
    except UnicodeDecodeError:
        return name
    except (LookupError, ValueError) as error:
        raise about(
            InvalidArgumentError, "encoding", f"{encoding!r} is not a text encoding. Examples: utf-8, latin-1, cp1252."
        ) from error
    return name


def decode(
    data: bytes, name: str, *, encoding: str | None = None, errors: Errors = "strict", advice: str = _ADVICE
) -> str:
    """Decode the whole of a text.

    Parameters
    ----------
    data
        Its bytes.
    name
        What to call it in messages: a file's name, ``"standard input"``.
    encoding
        ``None``: UTF-8. A byte order mark is stronger than either.
    errors
        ``"replace"``: U+FFFD in place of what is not text.
    advice
        What to do about bytes that are no text, the last sentence of the error.

    Raises
    ------
    InvalidArgumentError
        A byte that is not of the encoding; the message has its offset. Or there is no such encoding.
    """
    codec, start = _codec(data[:_LONGEST_MARK], encoding)
    return _decode(data[start:], _Place(name, start, advice), codec, errors)


def read_text(
    path: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    errors: Errors = "strict",
    advice: str = _ADVICE,
) -> str:
    """Read a text file; arguments and errors as in :func:`decode`, and those of opening it. Line ends stay."""
    data = Path(path).read_bytes()
    return decode(data, printable(path), encoding=encoding, errors=errors, advice=advice)


def read_json(path: str | os.PathLike[str], *, advice: str = "Save it as UTF-8.") -> Any:
    """Parse a JSON file. Raises InvalidArgumentError where it is none, and the errors of opening it."""
    data = Path(path).read_bytes()
    name = printable(path)
    return parse_json(decode(data, name, encoding=json.detect_encoding(data), advice=advice), name)


def parse_json(text: str, name: str, *, finite: bool = False) -> Any:
    """Parse JSON text called `name` in messages. Raises InvalidArgumentError, also for halves of surrogate pairs.

    finite: and for numbers that are not, NaN and 1e999: files of others have them, but a result could not repeat one.
    """
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite) if finite else json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{name}: not valid JSON (half of a surrogate pair, which is no character)."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{name}: not valid JSON ({error}).") from error
    return content


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word if len(word) < 20 else f'{word[:20]}...'} is not a finite number")
    return number


@dataclass(frozen=True)
class JsonLine:
    """A line of a JSONL file that nobody has decoded yet, so that a damaged one does not hide the others."""

    file: str
    number: int
    offset: int
    data: bytes
    codec: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file}: line {self.number}"

    def is_blank(self) -> bool:
        """Whether there is nothing but white space on it."""
        return not self.data.strip(b" \t\r\n\0")

    def parse(self, errors: Errors = "strict") -> Any:
        """Decode and parse it. Raises InvalidArgumentError, with the byte's offset in the file or the line's number."""
        text = _decode(self.data, _Place(self.name, self.offset, _ADVICE), self.codec, errors)
        return parse_json(text.removeprefix("\ufeff"), self.name, finite=True)  # files put together keep their marks


def json_lines(file: BinaryIO, name: str, *, encoding: str | None = None) -> Iterator[JsonLine]:
    """Give the lines of an open JSONL file as they come, blank ones too; no more than one is held at a time.

    Only a line feed ends a line: a JSON string may hold all other characters that Unicode calls line ends.
    """
    first = _read_mark(file)
    codec, offset = _codec(first, encoding or (json.detect_encoding(first) if len(first) == _LONGEST_MARK else None))
    newline = "\n".encode(codec)
    if b"\n" not in newline:
        raise InvalidArgumentError(f"{name}: lines of {codec} cannot be told apart. Save it as UTF-8.")
    begin = first[offset:]
    for number, data in enumerate(_raw_lines(file, begin, newline), 1):
        yield JsonLine(name, number, offset, data, codec)
        offset += len(data)


def printable(path: str | os.PathLike[str]) -> str:
    r"""A file's name for messages: bytes of it that are no text become escapes, as in ``caf\xe9``."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class _Place:
    """Where bytes come from: what to call it, how many bytes are before them, and what to do about bad ones."""

    name: str
    offset: int
    advice: str


def _codec(beginning: bytes, encoding: str | None) -> tuple[str, int]:
    """The encoding of what begins so, and the length of its mark."""
    named = check_encoding(encoding or "utf-8")
    for mark, codec in _MARKS:
        if beginning.startswith(mark):
            return codec, len(mark)
    return _WITHOUT_MARK.get(named, named), 0


def _decode(data: bytes, place: _Place, codec: str, errors: Errors) -> str:
    try:
        return data.decode(codec, errors)
    except UnicodeDecodeError as error:
        found = f"byte {place.offset + error.start} (0x{data[error.start]:02x})"
        expected = codec.upper() if codec.startswith("utf") else codec
        raise InvalidArgumentError(f"{place.name}: {found} is not {expected}. {place.advice}") from error


def _read_mark(file: BinaryIO) -> bytes:
    """Up to four bytes, fewer where the first line or the file ends before: waiting for more could be for ever."""
    data = b""
    while len(data) < _LONGEST_MARK and not data.endswith(b"\n"):
        byte = file.read(1)
        if not byte:
            break
        data += byte
    return data


def _raw_lines(file: BinaryIO, begin: bytes, newline: bytes) -> Iterator[bytes]:
    """Lines with their ends. `newline` may be wider than its byte 0x0A, which other characters may then have too."""
    width, place = len(newline), newline.index(b"\n")
    line = b""
    piece = begin if begin.endswith(b"\n") else begin + file.readline()
    while piece:
        line += piece
        if line.endswith(b"\n") and (len(line) - 1) % width == place:
            line += file.read(width - 1 - place)
            if line.endswith(newline):
                yield line
                line = b""
        piece = file.readline()
    if line:
        yield line
