"""Results as OpenAI writes them: whole, or in chunks as the text comes; as texts, or as messages."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from t5g.generation import Generation
from t5g.server.tokens import pieces

if TYPE_CHECKING:
    from t5g.generation import GeneratedSequence
    from t5g.server.asked import Asked
    from t5g.server.engine import Call
    from t5g.tokenizer import Tokenizer

# OpenAI knows no others.
_REASONS = {"stop": "stop", "timeout": "length"}


class Answers:
    """Writes the answers of one call.

    Parameters
    ----------
    model_name
        The model's name.
    asked
        The request.
    tokenizer
        Of the model, for the texts of tokens.
    is_chat
        Whether choices are messages.
    """

    def __init__(self, model_name: str, asked: Asked, tokenizer: Tokenizer, *, is_chat: bool) -> None:
        self._asked = asked
        self._tokenizer = tokenizer
        self._is_chat = is_chat
        self._base = {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model_name,
        }

    # ---- Whole ----

    async def whole(self, results: list[Generation]) -> dict[str, Any]:
        """The answer in one."""
        choices: list[dict[str, Any]] = []
        for result in results:
            for sequence in result.sequences:
                choices.append(self._choice(len(choices), sequence, await self._logprobs(sequence)))
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._base, "object": kind, "choices": choices, "usage": _usage(results)}

    def _choice(self, index: int, sequence: GeneratedSequence, logprobs: Any) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index}
        if self._is_chat:
            choice["message"] = {"role": "assistant", "content": sequence.text, "refusal": None}
        else:
            choice["text"] = sequence.text
        choice |= {"logprobs": logprobs, "finish_reason": _reason(sequence)}
        if self._asked.return_token_ids:
            choice["token_ids"] = sequence.token_ids
        return choice

    async def _logprobs(self, sequence: GeneratedSequence) -> dict[str, Any] | None:
        """Log-probabilities as OpenAI has them; a thread computes those that are not there yet."""
        if not self._asked.wants_logprobs:
            return None
        return await asyncio.to_thread(self._chat_logprobs if self._is_chat else self._text_logprobs, sequence)

    def _chat_logprobs(self, sequence: GeneratedSequence) -> dict[str, Any]:
        content = []
        for text, logprob, top in self._tokens(sequence):
            content.append(_token(text, logprob) | {"top_logprobs": [_token(*one) for one in top]})
        return {"content": content, "refusal": None}

    def _text_logprobs(self, sequence: GeneratedSequence) -> dict[str, Any]:
        tokens = self._tokens(sequence)
        offsets = itertools.accumulate((len(text) for text, _, _ in tokens), initial=0)
        return {
            "tokens": [text for text, _, _ in tokens],
            "token_logprobs": [logprob for _, logprob, _ in tokens],
            "top_logprobs": [dict(top) for _, _, top in tokens] if self._asked.given["logprobs"] else None,
            "text_offset": [offset for offset, _ in zip(offsets, tokens, strict=False)],
        }

    def _tokens(self, sequence: GeneratedSequence) -> list[tuple[str, float, list[tuple[str, float]]]]:
        """Each token's text, its log-probability, and the best ones at its place."""
        texts = pieces(self._tokenizer, sequence.token_ids)
        best = sequence.top_logprobs or [{} for _ in texts]
        tops = [
            [(self._tokenizer.decode([i], skip_special_tokens=False), value) for i, value in top.items()]
            for top in best
        ]
        return [*zip(texts, map(_finite, sequence.token_logprobs), tops, strict=True)]

    # ---- In chunks ----

    async def chunks(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        """The answer as it comes."""
        per_source = self._asked.n_per_source
        results: dict[int, Generation] = {}
        sent: dict[int, int] = {}
        if self._is_chat:
            for index in range(len(call.works) * per_source):
                yield self._chunk(index, {"role": "assistant", "content": ""})
        async for source, event in call.events():
            first = source * per_source
            if not isinstance(event, Generation):
                index = first + event.sequence
                sent[index] = sent.get(index, 0) + len(event.text)
                yield self._text_chunk(index, event.text)
                continue
            results[source] = event
            for index, sequence in enumerate(event.sequences, first):
                rest = sequence.text[sent.get(index, 0) :]
                if rest:
                    yield self._text_chunk(index, rest)
                yield self._last_chunk(index, sequence, await self._logprobs(sequence))
        if self._asked.include_usage:
            yield self._chunk_of([], {"usage": _usage([results[i] for i in sorted(results)])})

    def _text_chunk(self, index: int, text: str) -> dict[str, Any]:
        return self._chunk(index, {"content": text} if self._is_chat else text)

    def _last_chunk(self, index: int, sequence: GeneratedSequence, logprobs: Any) -> dict[str, Any]:
        more: dict[str, Any] = {"logprobs": logprobs}
        if self._asked.return_token_ids:
            more["token_ids"] = sequence.token_ids
        return self._chunk(index, {} if self._is_chat else "", _reason(sequence), more)

    def _chunk(
        self, index: int, content: dict[str, Any] | str, reason: str | None = None, more: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "delta" if self._is_chat else "text": content}
        choice |= {"logprobs": None, "finish_reason": reason, **(more or {})}
        return self._chunk_of([choice], {"usage": None} if self._asked.include_usage else {})

    def _chunk_of(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._base, "object": kind, "choices": choices, **more}


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes this for what is as good as impossible."""
    return logprob if math.isfinite(logprob) else -9999.0


def _token(text: str, logprob: float) -> dict[str, Any]:
    """A token as chats have it; one that is part of a character only has no bytes of its own to tell."""
    data = None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": data}


def _reason(sequence: GeneratedSequence) -> str:
    return _REASONS.get(sequence.finish_reason, "length")


def _usage(results: list[Generation]) -> dict[str, int]:
    read = sum(result.timings.n_source_tokens for result in results)
    written = sum(len(sequence.token_ids) for result in results for sequence in result.sequences)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
