"""Results as OpenAI writes them: whole, or in chunks as the text comes; as texts, or as messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t5g.generation import Generation
from t5g.server.events import new_id
from t5g.server.logprobs import Logprobs

if TYPE_CHECKING:
    from t5g.generation import GeneratedSequence
    from t5g.server.asked import Asked
    from t5g.server.calls import Call
    from t5g.tokenizer import Tokenizer

# OpenAI knows no others.
_REASONS = {"stop": "stop", "timeout": "length"}


@dataclass
class _Sent:
    """How far a sequence has gone out."""

    logprobs: Logprobs | None
    n_characters: int = 0


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
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{new_id()}",
            "created": int(time.time()),
            "model": model_name,
        }

    # ---- Whole ----

    async def whole(self, results: list[Generation]) -> dict[str, Any]:
        """The answer in one."""
        choices: list[dict[str, Any]] = []
        for result in results:
            for sequence in result.sequences:
                logprobs = self._of_sequence()
                # A thread computes those that are not there yet.
                told = None if logprobs is None else await asyncio.to_thread(logprobs.whole, sequence)
                choices.append(self._choice(len(choices), sequence, told))
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

    def _of_sequence(self) -> Logprobs | None:
        """What writes a sequence's log-probabilities, where they are wanted."""
        if self._asked.n_top is None:
            return None
        return Logprobs(self._tokenizer, is_chat=self._is_chat, n_top=self._asked.n_top)

    # ---- In chunks ----

    async def chunks(self, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        """The answer as it comes; chunks that go out together are given together."""
        per_source = self._asked.n_per_source
        results: dict[int, Generation] = {}
        all_sent = [_Sent(self._of_sequence()) for _ in range(len(call.works) * per_source)]
        if self._is_chat:
            yield [self._chunk(index, {"role": "assistant", "content": ""}) for index in range(len(all_sent))]
        async for source, event in call.events():
            first = source * per_source
            if not isinstance(event, Generation):
                index = first + event.sequence
                sent = all_sent[index]
                sent.n_characters += len(event.text)
                told = None if sent.logprobs is None else sent.logprobs.some(event.tokens)
                yield [self._text_chunk(index, event.text, told)]
                continue
            results[source] = event
            last: list[dict[str, Any]] = []
            for index, sequence in enumerate(event.sequences, first):
                last += self._last_chunks(index, sequence, all_sent[index])
            if self._asked.include_usage and len(results) == len(call.works):
                last.append(self._chunk_of([], {"usage": _usage([results[i] for i in sorted(results)])}))
            yield last

    def _text_chunk(self, index: int, text: str, logprobs: Any) -> dict[str, Any]:
        return self._chunk(index, {"content": text} if self._is_chat else text, more={"logprobs": logprobs})

    def _last_chunks(self, index: int, sequence: GeneratedSequence, sent: _Sent) -> Iterator[dict[str, Any]]:
        """What has not been sent of a finished sequence, and how it has ended."""
        told = None if sent.logprobs is None else sent.logprobs.rest(sequence)
        if rest := sequence.text[sent.n_characters :]:
            yield self._text_chunk(index, rest, told)
            told = None
        more: dict[str, Any] = {"logprobs": told}
        if self._asked.return_token_ids:
            more["token_ids"] = sequence.token_ids
        yield self._chunk(index, {} if self._is_chat else "", _reason(sequence), more)

    def _chunk(
        self, index: int, content: dict[str, Any] | str, reason: str | None = None, more: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "delta" if self._is_chat else "text": content}
        choice |= {"logprobs": None, "finish_reason": reason, **(more or {})}
        return self._chunk_of([choice], {"usage": None} if self._asked.include_usage else {})

    def _chunk_of(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._base, "object": kind, "choices": choices, **more}


def _reason(sequence: GeneratedSequence) -> str:
    return _REASONS.get(sequence.finish_reason, "length")


def _usage(results: list[Generation]) -> dict[str, int]:
    read = sum(result.timings.n_source_tokens for result in results)
    written = sum(len(sequence.token_ids) for result in results for sequence in result.sequences)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    cut = sum(result.n_truncated for result in results)
    return usage | ({"truncated_tokens": cut} if cut else {})
