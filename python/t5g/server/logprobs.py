"""Log-probabilities as OpenAI writes them, of a whole text or piece by piece as it comes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5g.server.tokens import is_part, pieces

if TYPE_CHECKING:
    from t5g.generation import GeneratedSequence
    from t5g.tokenizer import Tokenizer

# The id, its log-probability, and the best ones at its place with theirs.
Token = tuple[int, float, Mapping[int, float]]


class Logprobs:
    """Those of one sequence, told in the order of its tokens.

    Parameters
    ----------
    tokenizer
        Of the model, for the texts of tokens.
    is_chat
        Whether they are a message's.
    n_top
        How many of the best ones at each place are wanted.
    """

    def __init__(self, tokenizer: Tokenizer, *, is_chat: bool, n_top: int) -> None:
        self._tokenizer = tokenizer
        self._is_chat = is_chat
        self._n_top = n_top
        self._n_come = 0
        self._held: list[Token] = []  # parts of a character that is not complete
        self._offset = 0  # of the next token's text

    def some(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """What can be told after some tokens more; None for nothing."""
        self._n_come += len(tokens)
        held = [*self._held, *tokens]
        n = len(held)
        while n and is_part(self._tokenizer, held[n - 1][0]):
            n -= 1
        ready, self._held = held[:n], held[n:]
        return self._written(ready) if ready else None

    def rest(self, sequence: GeneratedSequence) -> dict[str, Any] | None:
        """What has not been told of a finished sequence; None for nothing."""
        come = self._n_come
        tops = (sequence.top_logprobs or [{} for _ in sequence.token_ids])[come:]
        last = [*zip(sequence.token_ids[come:], sequence.token_logprobs[come:], tops, strict=True)]
        ready, self._held = [*self._held, *last], []
        self._n_come += len(last)
        return self._written(ready) if ready else None

    def whole(self, sequence: GeneratedSequence) -> dict[str, Any]:
        """Those of a sequence of which nothing was told before."""
        return self.rest(sequence) or self._written([])

    def _written(self, tokens: list[Token]) -> dict[str, Any]:
        texts = pieces(self._tokenizer, [token for token, _, _ in tokens])
        logprobs = [_finite(logprob) for _, logprob, _ in tokens]
        tops = [[(self._text(i), value) for i, value in self._best(top)] for _, _, top in tokens]
        if self._is_chat:
            content = [
                _as_in_chats(text, logprob) | {"top_logprobs": [_as_in_chats(*one) for one in top]}
                for text, logprob, top in zip(texts, logprobs, tops, strict=True)
            ]
            return {"content": content, "refusal": None}
        offsets = [*itertools.accumulate(map(len, texts), initial=self._offset)]
        self._offset = offsets.pop()
        return {
            "tokens": texts,
            "token_logprobs": logprobs,
            "top_logprobs": [dict(top) for top in tops] if self._n_top else None,
            "text_offset": offsets,
        }

    def _best(self, top: Mapping[int, float]) -> list[tuple[int, float]]:
        return [(i, _finite(value)) for i, value in itertools.islice(top.items(), self._n_top)]

    def _text(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special_tokens=False)


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes this for what is as good as impossible."""
    return logprob if math.isfinite(logprob) else -9999.0


def _as_in_chats(text: str, logprob: float) -> dict[str, Any]:
    """A token as chats have it; one that is part of a character only has no bytes of its own to tell."""
    data = None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": data}
