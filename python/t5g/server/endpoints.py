"""The endpoints that compute: completions, chats and embeddings. Each reads a body, queues work, and answers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from t5g import _core, arguments
from t5g.server.answers import Answers
from t5g.server.asked import Asked, data_uris, take_asked, take_switches
from t5g.server.bodies import Fields, read_json
from t5g.server.errors import wrong
from t5g.server.events import EventStream, Json, while_there
from t5g.server.prompts import Messages, chat_request, prompt_requests, several
from t5g.source import EncodedSource
from t5g.sources import Reader, n_truncated

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from t5g.server.engine import Engine
    from t5g.server.kept import KeptSources
    from t5g.server.work import Spec

_MAX_INPUTS = 2048  # of one request for embeddings, as with OpenAI


class Endpoints:
    """Handlers of requests."""

    def __init__(self, engine: Engine, kept: KeptSources) -> None:
        self._engine = engine
        self._model = engine.model
        self._settings = engine.settings
        self._kept = kept

    # ---- Generation ----

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        fields = Fields(await read_json(request))
        asked = take_asked(fields, self._model, self._settings, is_chat=False)
        source_id, prompt = fields.text("source"), fields.take("prompt")
        images = fields.take("images")
        fields.done()
        if source_id is not None and prompt is not None:
            raise wrong("prompt", "prompt: is there beside a source. Leave one of them out.")
        if source_id is None and prompt is None:
            raise wrong("prompt", "prompt: there must be a prompt, or a source that POST /v1/sources has made.")
        uris = None if images is None else data_uris(images, self._settings)
        prompts = several(prompt, "prompt") if source_id is None else [EncodedSource(self._kept.get(source_id))]

        def prepare() -> list[Spec]:
            reader = asked.reader(self._model)
            name = "prompt" if source_id is None else "source"
            return asked.specs(self._model, reader, prompt_requests(reader, prompts, uris, name))

        return await self._generate(request, asked, prepare, is_chat=False)

    async def chat_completions(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        fields = Fields(await read_json(request))
        asked = take_asked(fields, self._model, self._settings, is_chat=True)
        messages = fields.take("messages")
        fields.done()
        if not isinstance(messages, list) or not messages:
            found = "an empty one" if messages == [] else arguments.found(messages)
            raise wrong("messages", f"messages: must be a list of messages, got {found}.")
        said = Messages.of(messages)

        def prepare() -> list[Spec]:
            reader = asked.reader(self._model)
            return asked.specs(self._model, reader, [chat_request(self._model, reader, said, self._settings)])

        return await self._generate(request, asked, prepare, is_chat=True)

    async def _generate(self, request: Request, asked: Asked, prepare: Any, *, is_chat: bool) -> Response:
        with asked.naming_fields():
            specs: list[Spec] = await self._engine.in_thread(prepare)
        call = self._engine.start(specs, asked.timeout)
        answers = Answers(self._settings.model_name, asked, self._model.tokenizer, is_chat=is_chat)
        if asked.stream:
            return EventStream(answers.chunks(call), call.cancel)
        with asked.naming_fields():
            results = await while_there(request, call.results(), call.cancel)
        return Json(await answers.whole(results))

    # ---- Embeddings ----

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings."""
        fields = Fields(await read_json(request))
        texts = fields.take("input")
        form = fields.take("encoding_format", "float")
        width = self._model.config.encoder.hidden_size
        dimensions = fields.take("dimensions", width)
        switches = take_switches(fields, self._model, self._settings)
        fields.ignore("user")
        fields.done()
        if texts is None:
            raise wrong("input", "input: is missing. Give a text, a list of texts, or token ids.")
        if form not in ("float", "base64"):
            raise wrong("encoding_format", "encoding_format: must be 'float' or 'base64'.")
        if dimensions != width or isinstance(dimensions, bool):
            raise wrong("dimensions", f"dimensions: must be {width}, the width of this model. Leave it out.")
        inputs = several(texts, "input")
        if len(inputs) > _MAX_INPUTS:
            raise wrong("input", f"input: there are {len(inputs):,}, expected at most {_MAX_INPUTS:,}.")
        reader = Reader(self._model, **switches)
        requests: Any = await self._engine.in_thread(prompt_requests, reader, inputs, None, "input")
        n_tokens, cut = sum(len(made[0]) for made in requests), sum(map(n_truncated, requests))

        def embed(stop: _core.StopFlag) -> list[Any] | None:
            vectors = []
            for made in requests:
                source = self._engine.encode(made, stop)
                if source is None:
                    return None
                vectors.append(self._model.embed([EncodedSource(source)])[0])
            return vectors

        vectors = await while_there(request, self._engine.read(n_tokens, embed))
        data = [
            {"object": "embedding", "index": i, "embedding": _written(vector, form)} for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens} | ({"truncated_tokens": cut} if cut else {})
        return Json({"object": "list", "data": data, "model": self._settings.model_name, "usage": usage})


def _written(vector: Any, form: str) -> Any:
    """A vector as numbers, or as base64 of little-endian float32."""
    return vector.tolist() if form == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()
