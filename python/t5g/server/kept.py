"""Sources that are read once and asked about often: POST /v1/sources makes one, completions name it by its id.

Ids are random, so that who knows one may use it. A source goes when it has not been used for a while, or when newer
ones need its memory.
"""

from __future__ import annotations

import base64
import binascii
import io
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t5g import _core, arguments, chat
from t5g.errors import T5gError
from t5g.generation import AttentionOf
from t5g.server.asked import data_uris, take_adapters, take_switches
from t5g.server.bodies import Fields, read_json
from t5g.server.errors import ApiError, as_api_error, wrong
from t5g.server.events import Json, while_there
from t5g.server.prompts import Messages, chat_request, prompt_requests, several
from t5g.server.tokens import pieces
from t5g.source import EncodedSource
from t5g.sources import Reader

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from t5g.server.engine import Engine

_MAX_PAGES = 5000
_MAX_WEIGHTS = 8_000_000  # of one answer of /v1/attention


@dataclass
class _Kept:
    source: _core.EncodedSource
    size_bytes: int
    created: int
    used: float


class KeptSources:
    """The sources that are kept, and their endpoints. For the event loop's thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._all: OrderedDict[str, _Kept] = OrderedDict()  # used last comes last
        engine.metrics.gauges["t5g_kept_sources"] = lambda: len(self._all)
        engine.metrics.gauges["t5g_kept_source_bytes"] = self._n_bytes

    def get(self, source_id: str) -> _core.EncodedSource:
        """Find a source, which starts its time anew."""
        return self._find(source_id).source

    # ---- Endpoints ----

    async def create(self, request: Request) -> Response:
        """POST /v1/sources: a text, ids, a PDF or images."""
        fields = Fields(await read_json(request))
        given, file, messages = fields.take("input"), fields.text("file"), fields.take("messages")
        images, switches = fields.take("images"), take_switches(fields, self._engine.model, self._settings)
        with_pieces = fields.flag("with_pieces")
        fields.done()
        n_given = sum(value is not None for value in (given, file, messages))
        if n_given > 1 or (n_given == 0 and not images):
            raise wrong("input", "input: there must be an input (a text or token ids), a file, or messages; or images.")
        if messages is not None and images:
            raise wrong("images", "images: go with an input or a file. Messages have theirs among their parts.")
        uris = None if images is None else data_uris(images, self._settings)
        text = None if file is None else await self._engine.in_thread(pdf_text, file)
        reader = Reader(self._engine.model, **switches)

        def read() -> Any:
            if messages is not None:
                said = Messages.of(chat.items(messages))
                return chat_request(self._engine.model, reader, said, self._settings)
            inputs = several(given if given is not None else text or "", "input")
            if len(inputs) != 1:
                raise wrong("input", f"input: must be one source, got {len(inputs)}.")
            return prompt_requests(reader, inputs, uris, "input")[0]

        made = await self._engine.in_thread(read)
        ids = made[0]
        self._check_size(len(ids))

        def encode(stop: _core.StopFlag) -> _core.EncodedSource | None:
            return self._engine.encode(made, stop)

        source = await while_there(request, self._engine.read(len(ids), encode))
        source_id = self._keep(source)
        answer = self._described(source_id)
        if text is not None:
            answer["text"] = text
        if with_pieces:
            answer["pieces"] = await self._engine.in_thread(pieces, self._engine.model.tokenizer, ids)
        return Json(answer)

    async def attention(self, request: Request) -> Response:
        """POST /v1/attention: where the decoder looked in a kept source when it wrote each of some tokens."""
        fields = Fields(await read_json(request))
        source_id, tokens = fields.text("source"), fields.take("tokens")
        prefix = fields.take("decoder_prefix", [])
        adapters = take_adapters(fields, self._engine.model, self._settings)
        fields.done()
        if source_id is None or not isinstance(tokens, list):
            raise wrong("tokens", "source, tokens: must be the id of a source, and the token ids of the text.")
        source, model = EncodedSource(self.get(source_id)), self._engine.model
        reader = Reader(model, adapters=adapters)
        encoded = reader.encoded(source)
        # Where the prefix has the start token already, generation adds none either.
        prompt = reader.after_start(reader.target("decoder_prefix", prefix))
        ids = reader.target_ids("tokens", tokens)
        if source.n_tokens * (len(prompt) + len(ids)) > _MAX_WEIGHTS:
            raise wrong("tokens", f"tokens: source and text make more than {_MAX_WEIGHTS:,} weights. Ask about fewer.")

        def look(stop: _core.StopFlag) -> Any:
            return AttentionOf(model._native, encoded, prompt)(ids)

        try:
            weights = await while_there(request, self._engine.read(len(prompt) + len(ids), look))
        except T5gError as error:
            raise as_api_error(error, names={"target": "tokens"}) from None
        data = base64.b64encode(weights.astype("<f4").tobytes()).decode()
        return Json({"n_target": len(weights), "n_source": source.n_tokens, "weights": data})

    async def list_all(self, request: Request) -> Response:
        """GET /v1/sources."""
        self._drop_old()
        return Json({"object": "list", "data": [self._described(source_id) for source_id in self._all]})

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/sources/{id}."""
        source_id = request.path_params["id"]
        self._find(source_id)
        return Json(self._described(source_id))

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/sources/{id}."""
        source_id = request.path_params["id"]
        self._find(source_id)
        del self._all[source_id]
        return Json({"id": source_id, "object": "source.deleted", "deleted": True})

    # ----

    def clear(self) -> None:
        """Let go of all."""
        self._all.clear()

    def _size(self, n_tokens: int) -> int:
        model = self._engine.model
        return n_tokens * (4 * model.config.encoder.hidden_size + 8) + 1024

    def _check_size(self, n_tokens: int) -> None:
        if self._size(n_tokens) > self._settings.source_bytes:
            limit = self._settings.source_bytes
            raise wrong("input", f"input: would take {self._size(n_tokens):,} bytes, expected at most {limit:,}.")

    def _keep(self, source: _core.EncodedSource) -> str:
        now = time.time()
        source_id = f"src-{secrets.token_hex(16)}"
        self._all[source_id] = _Kept(source, self._size(source.n_tokens), int(now), time.monotonic())
        self._drop_old()
        while self._n_bytes() > self._settings.source_bytes:
            self._all.popitem(last=False)
        return source_id

    def _find(self, source_id: str) -> _Kept:
        self._drop_old()
        kept = self._all.get(source_id)
        if kept is None:
            message = "there is no such source. It may have expired: make it again with POST /v1/sources."
            raise ApiError(404, message, param="source", code="source_not_found")
        kept.used = time.monotonic()
        self._all.move_to_end(source_id)
        return kept

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._settings.source_seconds
        while self._all and next(iter(self._all.values())).used < oldest:
            self._all.popitem(last=False)

    def _n_bytes(self) -> int:
        return sum(kept.size_bytes for kept in self._all.values())

    def _described(self, source_id: str) -> dict[str, Any]:
        kept = self._all[source_id]
        left = self._settings.source_seconds - (time.monotonic() - kept.used)
        return {
            "id": source_id,
            "object": "source",
            "created": kept.created,
            "expires_at": int(time.time() + left),
            "n_tokens": kept.source.n_tokens,
            "n_truncated": kept.source.n_truncated,
        }


def pdf_text(uri: str) -> str:
    """Read the text of a PDF that comes as a data URI."""
    head, _, data = uri.partition(",")
    if head.lower() != "data:application/pdf;base64":
        raise wrong("file", f"file: must be data:application/pdf;base64,..., got {arguments.found(head[:60])}.")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong("file", f"file: its base64 cannot be decoded: {error}.") from None
    try:
        import pypdf
    except ImportError:
        raise ImportError(
            "reading PDF files needs the package pypdf. Install it with: pip install 't5g[pdf]'"
        ) from None
    try:
        pages = pypdf.PdfReader(io.BytesIO(content)).pages
        if len(pages) > _MAX_PAGES:
            raise wrong("file", f"file: has {len(pages):,} pages, expected at most {_MAX_PAGES:,}.")
        text = "\n\n".join(page.extract_text() for page in pages).strip()
    except ApiError:
        raise
    except (Exception, RecursionError) as error:  # a damaged file may make pypdf raise anything
        raise wrong("file", f"file: cannot be read as a PDF: {type(error).__name__}.") from None
    if not text:
        raise wrong("file", "file: has no text, only images of it. Give the images of its pages.")
    return text.encode("utf-8", "replace").decode()
