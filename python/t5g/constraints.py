"""What limits a whole text: choices, a function, or a grammar. Each says which tokens may come next.

The first is native; the others are asked by the native module through the methods of :class:`State`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from t5g import _core, arguments
from t5g.errors import ArgumentTypeError, InvalidArgumentError
from t5g.messages import about, listed, told

if TYPE_CHECKING:
    from t5g.model import Model

NAMES = ("choices", "regex", "json_schema", "grammar", "allowed_tokens")


class State(Protocol):
    """How far one sequence is; or the beams of one search, which ask in turn.

    ``generated`` are token ids after the decoder's prefix. Asked again about the same, a state answers the same.
    """

    def after(self, generated: list[int], address: int, n_bytes: int) -> list[int] | bytes | bool | None:
        """What may follow: None for everything, ids, a mask of bits, or True for one written at the address."""

    def forced(self, generated: list[int]) -> list[int]:
        """Tokens that must follow, as far as that is cheap to know."""

    def n_allowed(self, generated: list[int], tokens: list[int]) -> int:
        """How many of these may follow."""


def make(given: Mapping[str, Any], model: Model) -> _core.sampling.Constraint | None:
    """Make the constraint of a call from those of its arguments that are named in `NAMES`."""
    asked = {name: given[name] for name in NAMES if given.get(name) is not None}
    if not asked:
        return None
    if len(asked) > 1:
        raise told(InvalidArgumentError, *listed(asked), ": a text has one of them at a time. Leave the others out.")
    ((name, value),) = asked.items()
    if name == "choices":
        return _choices(value, model)
    if name == "allowed_tokens":
        if not callable(value):
            raise arguments.wrong_type(name, "a function of the ids generated so far", value)
        size = model.config.vocab_size
        return _core.sampling.PythonConstraint(_Function(value, size), size, runs_beside=False)
    from t5g import grammars

    return _core.sampling.PythonConstraint(
        grammars.compiled(name, value, model), model.config.vocab_size, runs_beside=True
    )


def _choices(value: Any, model: Model) -> _core.sampling.Choices:
    choices = arguments.items("choices", value, "str")
    if not choices:
        raise about(InvalidArgumentError, "choices", "must have one text or more, got none.")
    ids = []
    for i, choice in enumerate(choices):
        name = f"choices[{i}]"
        if not arguments.text(name, choice):
            raise arguments.wrong_value(name, "a text of one character or more", choice)
        tokens = model.tokenizer.encode(choice, add_special_tokens=False)
        ids.append(model._native.token_ids(name, tokens, "target"))
    return _core.sampling.Choices(ids)


class _Function:
    """A caller's function of the generated ids. What it raises comes out of the call."""

    def __init__(self, function: Callable[[list[int]], Any], vocab_size: int) -> None:
        self._function = function
        self._vocab_size = vocab_size

    def begin(self, eos_token_ids: list[int], several: bool) -> _Function:
        return self

    def after(self, generated: list[int], address: int, n_bytes: int) -> list[int] | bytes | None:
        answer = self._function(generated)
        if answer is None:
            return None
        values = answer.tolist() if arguments.is_array(answer) else answer
        if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
            raise self._wrong(answer)
        values = list(values)
        if values and isinstance(values[0], bool):
            return self._mask(values)
        return self._ids(values)

    def _ids(self, values: Sequence[Any]) -> list[int]:
        ids = []
        for value in values:
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise self._wrong(value)
            if not 0 <= (token := value.__index__()) < self._vocab_size:
                raise about(
                    InvalidArgumentError,
                    "allowed_tokens",
                    f"returned token {token}, outside the model's vocabulary of {self._vocab_size} tokens.",
                )
            ids.append(token)
        return ids

    def _mask(self, values: Sequence[bool]) -> bytes:
        if len(values) != self._vocab_size:
            raise about(
                InvalidArgumentError,
                "allowed_tokens",
                f"returned a mask of {len(values)} values, expected one for each of the vocabulary's "
                f"{self._vocab_size} tokens.",
            )
        import numpy as np

        return np.packbits(np.array(values, bool), bitorder="little").tobytes()

    def _wrong(self, value: object) -> ArgumentTypeError:
        return about(
            ArgumentTypeError,
            "allowed_tokens",
            f"must return token ids, a mask of {self._vocab_size} bools, or None for all, got "
            f"{arguments.found(value)}.",
        )

    def forced(self, generated: list[int]) -> list[int]:
        return []

    def n_allowed(self, generated: list[int], tokens: list[int]) -> int:
        return 0  # it is never asked about what is not written
