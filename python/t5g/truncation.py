"""How a source that is too long is cut, where the caller has asked for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from t5g import arguments

Truncation: TypeAlias = "Literal['error', 'end', 'start', 'middle']"
WORDS = ("error", "end", "start", "middle")


class CutIds(list[int]):
    """Ids that know how many others were cut away from them."""

    n_truncated = 0


def word(value: object) -> str:
    """Take ``truncation``."""
    if isinstance(value, bool):
        advice = (
            "What is True in transformers is 'end' here." if value else "What is False in transformers is 'error' here."
        )
        raise arguments.wrong_type("truncation", f"one of {', '.join(map(repr, WORDS))}", value, advice)
    return arguments.choice("truncation", value, WORDS)


def cut(
    ids: list[int], limit: int, what: str, prefix: Sequence[int] = (), suffix: Sequence[int] = ()
) -> tuple[list[int], int]:
    """Cut ids down to a limit.

    Parameters
    ----------
    ids
        The tokens.
    limit
        How many may stay.
    what
        ``"end"``, ``"start"`` or ``"middle"``: the part that goes.
    prefix, suffix
        What the tokenizer has put at the beginning and at the end, where it has: it stays.

    Returns
    -------
    tuple
        The ids that stay, and how many went.
    """
    n = len(ids) - limit
    if n <= 0:
        return ids, 0
    first = len(prefix) if list(ids[: len(prefix)]) == list(prefix) else 0
    last = len(suffix) if suffix and list(ids[-len(suffix) :]) == list(suffix) else 0
    first, last = min(first, limit), min(last, max(limit - first, 0))
    room = limit - first - last
    before = {"end": room, "start": 0, "middle": (room + 1) // 2}[what]
    begin = first + before
    return ids[:begin] + ids[begin + n :], n
