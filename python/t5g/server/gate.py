"""What every request passes: its id, who may come in, how large it may be, what its answer says, one line in the log.

The log has no text of users: method, path, status, times and sizes, as one JSON object a line.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from t5g.server.errors import ApiError, as_api_error
from t5g.server.events import ClientGone, error_response, new_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from t5g.server.metrics import Metrics
    from t5g.server.settings import Settings

_access = logging.getLogger("t5g.server.access")
_log = logging.getLogger("t5g.server")

_REQUEST_ID = re.compile(r"[\w.\-]{1,64}", re.ASCII)
_OPEN = ("/health", "/", "/page/")  # asked without a key: what they say is known to everybody
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]", "testserver")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Gate:
    """ASGI middleware around the whole server."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._key = None if settings.api_key is None else _digest(settings.api_key.encode())
        self._hosts = {*_LOCAL_HOSTS, settings.host.lower(), *(host.lower() for host in settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Passing(self, scope, receive, send).run()

    def check(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raise what keeps a request out."""
        self._check_host(headers.get("host", ""))
        if self._key is not None and not _is_open(scope["path"]) and scope["method"] != "OPTIONS":
            given = headers.get("authorization", "")
            scheme, _, key = given.partition(" ")
            right = hmac.compare_digest(_digest(key.strip().encode("latin-1", "replace")), self._key)
            if scheme.lower() != "bearer" or not right:
                message = "the API key is missing or wrong. Send it in the header Authorization: Bearer KEY."
                raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 15 or int(length) > self._settings.max_body_bytes):
            raise self.too_large()

    def _check_host(self, host: str) -> None:
        if self._key is not None or not self._settings.is_loopback:
            return
        name = re.sub(r":\d*$", "", host.lower())
        if name not in self._hosts:
            message = (
                "this server answers to localhost only. Start it with --allowed-host NAME to add a name, or a key."
            )
            raise ApiError(403, message, code="wrong_host")

    def too_large(self) -> ApiError:
        limit = self._settings.max_body_bytes
        return ApiError(413, f"the body is too large, expected at most {limit:,} bytes.", code="body_too_large")


class _Passing:
    """One request on its way through."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate = gate
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start = time.perf_counter()
        self._status = 0
        self._n_in = self._n_out = 0
        self._headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        given = self._headers.get("x-request-id", "")
        self._id = given if _REQUEST_ID.fullmatch(given) else new_id()

    async def run(self) -> None:
        self._scope["app"] = self._gate  # so that routes raise HTTPException, which is told in the right form
        self._scope.setdefault("state", {})["request_id"] = self._id
        try:
            self._gate.check(self._scope, self._headers)
            await self._gate._app(self._scope, self.receive, self.send)
        except (ClientGone, ClientDisconnect):  # while its answer was written, or its request still read
            self._status = 499
        except Exception as error:
            await self._fail(error)
        finally:
            self._note()

    async def _fail(self, error: Exception) -> None:
        told = as_api_error(error)
        if told.status == 500:  # the message of an unknown error may hold anything, so the log has its kind and place
            trace, place = error.__traceback__, ""
            while trace is not None:
                place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
            _log.error(json.dumps({"request_id": self._id, "error": type(error).__name__, "place": place}))
        if self._status == 0:
            await error_response(told)(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        self._n_in += len(message.get("body", b""))
        if self._n_in > self._gate._settings.max_body_bytes:
            raise self._gate.too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            more = {"X-Request-Id": self._id, **_HEADERS}
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in more.items()]
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        self._n_out += len(message.get("body", b""))
        await self._send(message)

    def _note(self) -> None:
        seconds = time.perf_counter() - self._start
        route = self._scope.get("route")
        path: str = getattr(route, "path", "other")
        self._gate._metrics.count_request(path, self._status, seconds)
        line: dict[str, Any] = {
            "request_id": self._id,
            "method": self._scope["method"],
            "path": path,
            "status": self._status,
            "seconds": round(seconds, 6),
            "bytes_in": self._n_in,
            "bytes_out": self._n_out,
        }
        _access.info(json.dumps(line))


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith("/page/")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
