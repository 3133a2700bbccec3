"""The server as an ASGI application: its routes, with the gate around them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route, Router

from t5g.errors import InvalidArgumentError, ModelFormatError
from t5g.server.endpoints import Endpoints
from t5g.server.engine import Engine
from t5g.server.errors import ApiError
from t5g.server.events import Json
from t5g.server.gate import Gate
from t5g.server.kept import KeptSources
from t5g.server.metrics import Metrics
from t5g.server.responses import Responses
from t5g.server.settings import Settings, check_key
from t5g.server.tokens import Tokens

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from t5g.model import Model

_PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Server:
    """A model, and the application that serves it.

    Parameters
    ----------
    model
        The model, which the caller closes after the server has ended.
    settings
        What the server was told.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.metrics = Metrics()
        self.engine = Engine(model, settings, self.metrics)
        self._kept = KeptSources(self.engine)
        router = Router(self._routes(), lifespan=self._lifespan)
        app: ASGIApp = Gate(router, settings, self.metrics)
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
                expose_headers=["X-Request-Id", "Retry-After"],
            )
        self.app: ASGIApp = app
        """For any ASGI server."""

    def _routes(self) -> list[Route]:
        endpoints, tokens, kept = Endpoints(self.engine, self._kept), Tokens(self.engine), self._kept
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/page/{name}", self._page, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{id:path}", self._model, methods=["GET"]),
            Route("/v1/completions", endpoints.completions, methods=["POST"]),
            Route("/v1/chat/completions", endpoints.chat_completions, methods=["POST"]),
            Route("/v1/responses", Responses(self.engine).create, methods=["POST"]),
            Route("/v1/embeddings", endpoints.embeddings, methods=["POST"]),
            Route("/v1/sources", kept.create, methods=["POST"]),
            Route("/v1/sources", kept.list_all, methods=["GET"]),
            Route("/v1/sources/{id}", kept.retrieve, methods=["GET"]),
            Route("/v1/sources/{id}", kept.delete, methods=["DELETE"]),
            Route("/v1/attention", kept.attention, methods=["POST"]),
            Route("/tokenize", tokens.tokenize, methods=["POST"]),
            Route("/detokenize", tokens.detokenize, methods=["POST"]),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._kept.clear()
            self.engine.close()

    # ---- What needs no computing ----

    async def _health(self, request: Request) -> Response:
        if self.engine.is_draining:
            return Json({"status": "shutting down"}, 503)
        return Json({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _models(self, request: Request) -> Response:
        return Json({"object": "list", "data": [self._described(name) for name in self._names()]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["id"]
        if name not in self._names():
            raise ApiError(
                404, "there is no such model here. GET /v1/models lists what there is.", code="model_not_found"
            )
        return Json(self._described(name))

    def _names(self) -> list[str]:
        """The model's, and behind it that of each adapter."""
        name = self.settings.model_name
        return [name, *(f"{name}:{adapter}" for adapter in self.model.adapters)]

    def _described(self, name: str) -> dict[str, Any]:
        model = self.model
        parent = {} if name == self.settings.model_name else {"parent": self.settings.model_name}
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "t5g",
            **parent,
            "t5g": {
                "architecture": model.config.architecture,
                "max_source_tokens": model.max_source_tokens,
                "max_target_tokens": model.max_target_tokens if model.config.decoder is not None else 0,
                "has_vision": model.config.vision is not None,
                "has_chat_template": model.has_chat_template,
                "device": model.device,
                "generation_defaults": json.loads(json.dumps(dict(model.generation_defaults), default=str)),
            },
        }

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in _PAGE_FILES:
            raise HTTPException(404)
        content = resources.files("t5g.server").joinpath("page", name).read_bytes()
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
        return Response(content, media_type=_PAGE_FILES[name], headers=headers)


def from_environment() -> ASGIApp:
    """Make the application for ``uvicorn --factory t5g.server.app:from_environment``, one model for each worker.

    ``T5G_MODEL`` is the file (the bundled model without it), ``T5G_API_KEY`` the key; ``T5G_HOST`` says where the
    server will listen, where that is not the loopback address.
    """
    from t5g.model import Model

    file, key = os.environ.get("T5G_MODEL") or None, os.environ.get("T5G_API_KEY") or None
    host = os.environ.get("T5G_HOST") or "127.0.0.1"
    if key is not None:
        check_key(key, "T5G_API_KEY")
    try:
        model = Model(file)
    except (OSError, ModelFormatError) as error:
        if file is None:
            raise
        raise InvalidArgumentError(f"T5G_MODEL is {file!r}: {error}") from error
    return Server(model, Settings(Path(model.path).stem, api_key=key, host=host)).app
