"""The model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t5g import _core


class Tokenizer:
    """Text to token ids and back, exactly as SentencePiece and Hugging Face's tokenizers do it for Gemma."""

    def __init__(self, core: _core.Tokenizer) -> None:
        self._core = core

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        Parameters
        ----------
        text
            Any text; it is taken as it is.
        add_special_tokens
            Begin with the bos token where the model expects one in its source (T5Gemma 2; not T5Gemma).
        parse_special
            Match special tokens such as ``<start_of_turn>`` in the text. Leave it off for text that others wrote.
        """
        return self._core.encode(text, add_special_tokens=add_special_tokens, parse_special=parse_special)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Text of token ids; bytes that form no character become U+FFFD."""
        return self._core.decode(list(ids), skip_special_tokens=skip_special_tokens)

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
