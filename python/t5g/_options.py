"""The options of one generate call, for type checkers; meanings are in :meth:`t5g.Model.generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:

    class GenerateOptions(TypedDict, total=False):
        """Keyword arguments that generate, stream and generate_batch share."""

        max_new_tokens: int
        min_new_tokens: int
        seed: int | None
        temperature: float
        top_k: int
        top_p: float
        min_p: float
        repetition_penalty: float
        no_repeat_ngram_size: int
        num_beams: int
        length_penalty: float
        early_stopping: bool | Literal["never"]
        num_return_sequences: int
        draft: Literal["source", "off"]
