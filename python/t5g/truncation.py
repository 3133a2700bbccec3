"""How a source that is too long is cut, where the caller has asked for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from t5g import _core, arguments

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
    begin, n = _core.cut_range(len(ids), limit, what, len(prefix), len(suffix))
    return (ids[:begin] + ids[begin + n :] if n else ids), n
