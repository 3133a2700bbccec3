"""POST /v1/responses: OpenAI's newer form of a chat, for one text. Nothing is kept: a request has all of its input."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from t5g import arguments
from t5g.generation import Generation
from t5g.server.asked import ALIASES, take_asked
from t5g.server.bodies import Fields, read_json
from t5g.server.errors import ApiError, wrong
from t5g.server.events import EventStream, Json, dumps, new_id, while_there
from t5g.server.prompts import Messages, chat_request

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from t5g.server.calls import Call
    from t5g.server.engine import Engine
    from t5g.server.work import Spec

_NEUTRAL = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "include": ([],),
    "max_tool_calls": (),
    "reasoning": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "return_token_ids": (False,),
}
_ALIASES = {"max_output_tokens": "max_new_tokens", **ALIASES}
# OpenAI's words; "auto" leaves the beginning out.
_TRUNCATIONS = {"disabled": "error", "auto": "start"}


class Responses:
    """The endpoint."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, request: Request) -> Response:
        """Answer a request."""
        body = await read_json(request)
        fields = Fields(_with_own_words(body))
        model, settings = self._engine.model, self._engine.settings
        given, instructions = fields.take("input"), fields.text("instructions")
        metadata = _metadata(fields)
        fields.neutral(_NEUTRAL)
        _take_stream_options(fields)
        asked = take_asked(fields, model, settings, is_chat=True, aliases=_ALIASES, form=_form(fields))
        fields.done()
        messages = _messages(given, instructions)

        def prepare() -> list[Spec]:
            reader = asked.reader(model)
            specs = asked.specs(model, reader, [chat_request(model, reader, messages, settings)])
            if asked.n_per_source != 1:
                name = "alternatives" if asked.given.get("alternatives") else "num_return_sequences"
                name = asked.field_names.get(name, name)
                raise wrong(name, f"{name}: a response is one text. Ask /v1/chat/completions for several.")
            return specs

        with asked.naming_fields():
            specs: list[Spec] = await self._engine.in_thread(prepare)
        call = self._engine.start(specs, asked.timeout)
        answer = _Answer(settings.model_name, instructions, metadata, body)
        if asked.stream:
            return _Events(answer.events(call), call.cancel)
        (result,) = await while_there(request, call.results(), call.cancel)
        return Json(answer.whole(result))


def _with_own_words(body: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's words for values, as t5g's."""
    truncation = body.get("truncation")
    return body | ({"truncation": _TRUNCATIONS.get(truncation, truncation)} if isinstance(truncation, str) else {})


def _metadata(fields: Fields) -> dict[str, str]:
    """What the answer repeats."""
    metadata = fields.take("metadata", {})
    if not isinstance(metadata, dict):
        raise wrong("metadata", f"metadata: must be an object of texts, got {arguments.found(metadata)}.")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise wrong("metadata", f"metadata[{arguments.found(key)}]: must be a text, got {arguments.found(value)}.")
    return metadata


def _take_stream_options(fields: Fields) -> None:
    options = fields.inner("stream_options")
    if options is not None:
        options.neutral({"include_usage": (True,), "include_obfuscation": (False,)})  # the last event has the usage
        options.done()


def _form(fields: Fields) -> Fields | None:
    """Take what the answer's text is to be."""
    text = fields.inner("text")
    if text is None:
        return None
    form = text.inner("format")
    text.neutral({"verbosity": ("medium",)})
    text.done()
    return form


def _messages(given: Any, instructions: str | None) -> Messages:
    if isinstance(given, str):
        said = Messages.of([{"role": "user", "content": given}], "input", instructions)
        return Messages(said.items, "input", [*said.names[:-1], "input"])  # the text is the field itself
    if not isinstance(given, list) or not given:
        raise wrong("input", f"input: must be a text or a list of messages, got {arguments.found(given)}.")
    return Messages.of(given, "input", instructions)


class _Answer:
    """A response, as it comes into being."""

    def __init__(
        self, model_name: str, instructions: str | None, metadata: dict[str, str], body: dict[str, Any]
    ) -> None:
        self._id, self._item_id = f"resp_{new_id()}", f"msg_{new_id()}"
        self._base: dict[str, Any] = {
            "id": self._id,
            "object": "response",
            "created_at": int(time.time()),
            "model": model_name,
            "instructions": instructions,
            "metadata": metadata,
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "error": None,
        }

    def _response(self, status: str, output: list[Any], usage: Any = None) -> dict[str, Any]:
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {**self._base, "status": status, "incomplete_details": details, "output": output, "usage": usage}

    def _item(self, status: str, content: list[Any]) -> dict[str, Any]:
        return {"id": self._item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def whole(self, result: Generation) -> dict[str, Any]:
        """The finished response."""
        status = "completed" if result.finish_reason == "stop" else "incomplete"
        read, written = result.timings.n_source_tokens, len(result.token_ids)
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }
        return self._response(status, [self._item(status, [_part(result.text)])], usage)

    async def events(self, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        """The response as it comes, as events with names and numbers."""
        numbers = itertools.count()
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}

        def event(name: str, **fields: Any) -> dict[str, Any]:
            return {"type": f"response.{name}", "sequence_number": next(numbers), **fields}

        yield [
            event("created", response=self._response("in_progress", [])),
            event("in_progress", response=self._response("in_progress", [])),
            event("output_item.added", output_index=0, item=self._item("in_progress", [])),
            event("content_part.added", **place, part=_part("")),
        ]
        n_sent = 0
        async for _, found in call.events():
            if not isinstance(found, Generation):
                n_sent += len(found.text)
                yield [event("output_text.delta", **place, delta=found.text, logprobs=[])]
                continue
            rest, response = found.text[n_sent:], self.whole(found)
            yield [
                *([event("output_text.delta", **place, delta=rest, logprobs=[])] if rest else []),
                event("output_text.done", **place, text=found.text, logprobs=[]),
                event("content_part.done", **place, part=_part(found.text)),
                event("output_item.done", output_index=0, item=response["output"][0]),
                event(response["status"], response=response),
            ]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


class _Events(EventStream):
    """Events with their names; the last one says that it is the last."""

    end = ""

    def framed(self, event: dict[str, Any]) -> str:
        return f"event: {event['type']}\ndata: {dumps(event)}\n\n"

    def failed(self, error: ApiError) -> dict[str, Any]:
        return {"type": "error", "code": error.code, "message": error.message, "param": error.param}
