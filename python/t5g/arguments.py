"""Checks of arguments that many calls share. Each returns the value as the native module takes it.

What is wrong is named: a message reads *name: must be this, got that. What to do.*
"""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from t5g.errors import ArgumentTypeError, InvalidArgumentError, T5gWarning
from t5g.messages import Part, about, told

_LONGEST = 60  # characters of a value that a message quotes
LONGEST_PATH = 4096  # more than any system opens
_INT64_MAX = 2**63 - 1
_MAX_ROWS = 2**31 - 1  # of a decode step: more than any machine has


# ---- Words for messages ----


def found(value: object) -> str:
    """How a message tells what was given: a short value itself, else what kind of thing it is."""
    if value is None or isinstance(value, str | int | float | complex):
        try:
            text = repr(value)
        except ValueError:  # Python refuses to spell integers of thousands of digits
            return f"an integer of {value.bit_length() if isinstance(value, int) else 'many'} bits"
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    if isinstance(value, bytes | bytearray):
        return type(value).__name__
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"  # a uint8, a UserDict


def wrong_type(name: str, expected: str, value: object, advice: str = "") -> ArgumentTypeError:
    """Make the error for a value of the wrong type."""
    return about(ArgumentTypeError, name, f"must be {expected}, got {found(value)}.{f' {advice}' if advice else ''}")


def wrong_value(name: str, expected: str, value: object, advice: str = "") -> InvalidArgumentError:
    """Make the error for a value of the right type that cannot be."""
    return about(InvalidArgumentError, name, f"must be {expected}, got {found(value)}.{f' {advice}' if advice else ''}")


# ---- Values ----


def n_dimensions(value: object) -> int | None:
    """How many dimensions an array or tensor has, 0 for a NumPy scalar; None for everything else."""
    found = getattr(value, "ndim", None)
    return found if isinstance(found, int) else None


def is_array(value: object) -> bool:
    """Whether this is an array or tensor of one dimension or more."""
    return bool(n_dimensions(value))


def flag(name: str, value: object) -> bool:
    """Take True or False; NumPy's, 0 and 1 too."""
    if isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's, under its new and its old name
        return bool(value)
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    raise wrong_type(name, "True or False", value)


def choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Take one of some words."""
    expected = " or ".join([", ".join(map(repr, choices[:-1])), repr(choices[-1])])
    if not isinstance(value, str):
        raise wrong_type(name, expected, value)
    if value not in choices:
        raise wrong_value(name, expected, value)
    return str(value)


def word(name: str, value: object) -> str:
    """Take a text that is one of some words, which the native module knows."""
    taken = text(name, value)
    if len(taken) > _LONGEST:
        raise about(InvalidArgumentError, name, f"{found(taken)} is not known.")
    return taken


def integer(name: str, value: object, *, low: int | None = None, advice: str = "") -> int:
    """Take an integer, NumPy's too, but neither a bool nor a float: those are mistakes."""
    expected = "an integer" if low is None else f"an integer of at least {low}"
    # Arrays of one value count as integers, but not as numbers that anyone means to give.
    if isinstance(value, bool) or is_array(value):
        raise wrong_type(name, expected, value, advice)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, expected, value, advice) from None
    if low is not None and number < low:
        raise wrong_value(name, expected, number, advice)
    return number


def number(name: str, value: object, advice: str = "") -> float:
    """Take a real number of any type, but no bool and no text that spells one."""
    if isinstance(value, bool | str | bytes | bytearray) or is_array(value):
        raise wrong_type(name, "a number", value, advice)
    try:
        return float(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, "a number", value, advice) from None
    except (OverflowError, ValueError):
        raise wrong_value(name, "a number in the range of floats", value, advice) from None


def text(name: str, value: object, expected: str = "a str", advice: str = "") -> str:
    """Take a text that can be written as UTF-8."""
    if not isinstance(value, str):
        if isinstance(value, bytes | bytearray | memoryview):
            advice = advice or "Decode it first: data.decode()."
        raise wrong_type(name, expected, value, advice)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise about(
                InvalidArgumentError,
                name,
                f"character {error.start} is half a character, the surrogate U+{ord(value[error.start]):04X}. "
                "Text decoded with surrogateescape or surrogatepass has those: decode it with errors='replace'.",
            ) from None
    return value


def path(name: str, value: object) -> str:
    """Take the name of a file: a str, bytes or a path object."""
    if not isinstance(value, str | bytes | os.PathLike):
        raise wrong_type(name, "a path", value)
    try:
        result = str(os.fsdecode(value))
        os.fsencode(result)
    except TypeError as error:  # from an object's own __fspath__
        raise about(ArgumentTypeError, name, f"is no path: {error}.") from None
    except UnicodeError:
        raise about(
            InvalidArgumentError, name, f"{found(value)} cannot be the name of a file on this system."
        ) from None
    if not result:
        raise about(InvalidArgumentError, name, "must be a path, got an empty one.")
    if len(result) > LONGEST_PATH:
        raise about(InvalidArgumentError, name, f"must be a path, got a text of {len(result):,} characters.")
    if "\0" in result:
        raise about(InvalidArgumentError, name, f"a path has no null characters, got {found(result)}.")
    return result


def native_path(name: str, value: object) -> Any:
    """Take the name of a file for the native module, which wants the system's bytes, since not all names are UTF-8."""
    return os.fsencode(path(name, value))


def items(name: str, value: Any, of: str, advice: str = "") -> list[Any]:
    """Take a list, or anything else with an order that can be iterated over, but neither text nor a mapping."""
    return list(iterator(name, value, of, advice))


def iterator(name: str, value: Any, of: str, advice: str = "") -> Iterator[Any]:
    """Take the same, but item by item."""
    expected = f"a list of {of}"
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        raise wrong_type(name, expected, value, advice)
    if hasattr(value, "read") or n_dimensions(value) == 0:
        raise wrong_type(name, expected, value, advice)
    if hasattr(value, "columns"):  # a table, whose iterator gives the names of its columns
        raise wrong_type(name, expected, value, "Give one of its columns.")
    try:
        return iter(value)
    except TypeError:
        raise wrong_type(name, expected, value, advice) from None


def threads(value: object) -> int:
    """Take ``n_threads``; None becomes 0, which the native module understands as the number of cores."""
    if value is None:
        return 0
    n = integer("n_threads", value, low=1, advice="Leave it out for the default.")
    if n > _INT64_MAX:  # the native module names all others
        raise wrong_value("n_threads", "a number of threads that a machine can have", n)
    return n


def limit(name: str, value: object) -> int:
    """Take a number of tokens; None becomes 0, which the native module understands as the file's own."""
    if value is None:
        return 0
    return min(integer(name, value, low=1, advice="Leave it out for the file's own limit."), _INT64_MAX)


def size(name: str, value: object) -> int:
    """Take a number of bytes."""
    return min(integer(name, value, low=0, advice="It is a number of bytes."), _INT64_MAX)


def rows(value: object) -> int:
    """Take ``max_batch_size``."""
    return min(integer("max_batch_size", value, low=1), _MAX_ROWS)


# ---- Warnings ----

_told: set[str] = set()
_told_lock = threading.Lock()


def warn_once(*parts: Part) -> None:
    """Warn, once per process, with the line of the program that called t5g, however deep this is."""
    import warnings

    warning = told(T5gWarning, *parts)
    with _told_lock:
        if str(warning) in _told:
            return
        _told.add(str(warning))
    here = os.path.dirname(__file__)  # noqa: PTH120  as frames have their file names
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level)
