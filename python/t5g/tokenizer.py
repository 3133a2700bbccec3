"""The model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from t5g import _core, arguments
from t5g.errors import ArgumentTypeError
from t5g.keywords import explained
from t5g.sources import one_row


class Tokenizer:
    """Text to token ids and back, exactly as Hugging Face's tokenizer of the checkpoint does it.

    Where the checkpoint had no tokenizer when it was converted, :attr:`is_placeholder` is true, and text in either
    direction raises :exc:`UnsupportedError`.
    """

    def __init__(self, core: _core.Tokenizer) -> None:
        if not isinstance(core, _core.Tokenizer):
            raise arguments.wrong_type("Tokenizer", "that of a model, model.tokenizer", core)
        self._core = core

    def __copy__(self) -> Tokenizer:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> Tokenizer:
        return self

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError("a Tokenizer cannot be pickled. It comes with its model: t5g.Model(path).tokenizer.")

    @explained()
    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        Parameters
        ----------
        text
            Any text; it is taken as it is.
        add_special_tokens
            Put around the text what the checkpoint's tokenizer puts around a source: the bos token in front in
            T5Gemma 2, nothing in T5Gemma; fine-tunes may have others, an eos token at the end for example.
        parse_special
            Match special tokens such as ``<start_of_turn>`` in the text. Leave it off for text that others wrote.
            Added tokens that the tokenizer does not call special are matched in any case.
        """
        return self._core.encode(
            arguments.text("text", text),
            add_special_tokens=arguments.flag("add_special_tokens", add_special_tokens),
            parse_special=arguments.flag("parse_special", parse_special),
        )

    @explained()
    def decode(self, ids: int | Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Text of token ids, or of one; bytes that form no character become U+FFFD."""
        several = one_row("ids", [ids] if hasattr(ids, "__index__") and not arguments.is_array(ids) else ids)
        skip_special_tokens = arguments.flag("skip_special_tokens", skip_special_tokens)
        return self._core.decode(several, skip_special_tokens=skip_special_tokens)

    @property
    def is_placeholder(self) -> bool:
        """Whether there is no tokenizer, so that the model takes and gives token ids only."""
        return self._core.is_placeholder

    @property
    def vocab_size(self) -> int:
        return self._core.vocab_size

    @property
    def bos_id(self) -> int:
        return self._core.bos_id

    @property
    def eos_id(self) -> int:
        return self._core.eos_id

    @property
    def pad_id(self) -> int:
        return self._core.pad_id
