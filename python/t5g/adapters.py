"""What a call says of adapters, to what the native module takes: names, each with a scale or its usual one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from t5g import arguments
from t5g.errors import InvalidArgumentError
from t5g.messages import about

Adapters: TypeAlias = "str | Mapping[str, float] | Sequence[str] | None"
Choice: TypeAlias = "list[tuple[str, float | None]] | None"

_LARGEST = 2.0**127  # in float32
_EXPECTED = "the name of an adapter, or {name: scale}, or a list of names"


def usual_name(path: str) -> str:
    """Give the name of an adapter whose caller gives none: the file's, without its suffix, as text."""
    return Path(path).stem.encode("utf-8", "replace").decode()


def choice(value: object, name: str = "adapters") -> Choice:
    """Take what `adapters=` may be; ``None`` is the default, and an empty list or dict stands for none at all."""
    if value is None:
        return None
    if isinstance(value, str):
        return [(_name(value, name), None)]
    if isinstance(value, Mapping):
        return [(_name(key, name), _scale(f"{name}[{arguments.found(key)}]", scale)) for key, scale in value.items()]
    if isinstance(value, list | tuple):
        names = [_name(one, name) for one in value]
        for one in names:
            if names.count(one) > 1:
                raise about(
                    InvalidArgumentError, name, f"has {one!r} twice. Write {{{one!r}: 2.0}} for twice its effect."
                )
        return [(one, None) for one in names]
    raise arguments.wrong_type(name, _EXPECTED, value)


def choices(value: object, n: int) -> list[Choice]:
    """Take what it may be for n sources: one value for all, or a list with one for each."""
    if not isinstance(value, list | tuple) or not value:
        return [choice(value)] * n
    if len(value) != n:
        raise about(
            InvalidArgumentError,
            "adapters",
            f"there are {len(value)} for {n} sources. A list has one value for each source: a name, "
            "{name: scale}, [] or None.",
        )
    return [choice(one, f"adapters[{i}]") for i, one in enumerate(value)]


def _name(value: Any, name: str) -> str:
    return arguments.text(name, value, _EXPECTED)


def _scale(name: str, value: Any) -> float:
    number = arguments.number(name, value)
    if not abs(number) < _LARGEST:
        raise arguments.wrong_value(name, "a finite number", value)
    return number
