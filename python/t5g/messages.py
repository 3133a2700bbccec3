"""What errors and warnings say, and which arguments they name: a command says its flags instead, a server its fields.

The native module's errors have the same attribute, ``named_arguments``. Nobody looks for names in finished sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

E = TypeVar("E", bound=Exception)

# Of `stop[3]` the argument, of `messages[0].content` the field, and nothing of what is nobody's name: `image (a.png)`.
_NAME = re.compile(r"[a-z_]\w*(?:\[\d+\]\.\w+)?(?=\[|: |\Z)")


class Argument(NamedTuple):
    """An argument in a message.

    Attributes
    ----------
    name
        Its name, or a place in it: ``sources[3]``.
    written
        What Python writes there, where that is more than the name: ``truncation=...``.
    """

    name: str
    written: str | None = None


Part = str | Argument
# Characters of a text that name an argument: begin, end, its name, and the value that it is to have, if one is said.
Named = tuple[int, int, str, str | None]


def to_give(name: str, example: str = "") -> Argument:
    """Name an argument that is to be given: ``truncation=``, or with an example ``truncation=...``."""
    return Argument(name, f"{name}={example}")


def told(kind: type[E], *parts: Part) -> E:
    """Make an error or a warning of what it says."""
    text = ""
    named: list[Named] = []
    for part in parts:
        if isinstance(part, Argument):
            written = part.written or part.name
            if name := _NAME.match(part.name):
                end = len(text) + (len(name[0]) if part.written is None else len(written))
                named.append((len(text), end, name[0], None))
            text += written
        else:
            text += part
    error = kind(text)
    _name(error, named)
    return error


def _name(error: Exception, named: list[Named]) -> None:
    if named:
        error.named_arguments = tuple(named)  # type: ignore[attr-defined]


def about(kind: type[E], name: str, what: str) -> E:
    """Make an error about an argument, or about a place in one: *name: what*."""
    return told(kind, Argument(name), f": {what}")


def listed(names: Iterable[str]) -> list[Part]:
    """Name several arguments: *top_k, top_p and seed*."""
    *before, last = [Argument(name) for name in names]
    parts: list[Part] = []
    for i, argument in enumerate(before):
        parts += [", ", argument] if i else [argument]
    return [*parts, " and ", last] if before else [last]


def spelled(error: object, spell: Callable[[str, str | None], str | None]) -> str:
    """Say what an error or a warning says in other words for its arguments.

    Parameters
    ----------
    error
        What has the message.
    spell
        Gives what to say for an argument's name, and for the value that it is to have if there is one; ``None``: what
        stands there.
    """
    text, said, at = str(error), "", 0
    for begin, end, name, value in getattr(error, "named_arguments", ()):
        said += text[at:begin] + (spell(name, value) or text[begin:end])
        at = end
    return said + text[at:]


def elsewhere(kind: type[E], error: Exception, where: str, n: int) -> E:
    """Make an error that says the same of a place that the user knows: `where` stands for the first n characters."""
    made = kind(where + str(error)[n:])
    by = len(where) - n
    named = getattr(error, "named_arguments", ())
    _name(made, [(begin + by, end + by, name, value) for begin, end, name, value in named if begin >= n])
    return made


def subject(error: object) -> str | None:
    """Name the argument that an error is about: the one it begins with, if any."""
    for begin, _, name, _ in getattr(error, "named_arguments", ()):
        return str(name) if begin == 0 else None
    return None
