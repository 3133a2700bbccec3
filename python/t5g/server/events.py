"""How answers go out while somebody watches whether the client is still there: one body, or server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response

from t5g.server.errors import ApiError, as_api_error

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

_KEEP_ALIVE_SECONDS = 15.0


class ClientGone(Exception):
    """The client hung up, so nobody waits for the answer."""


def dumps(value: object) -> str:
    """JSON in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Json(Response):
    """An answer of JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content).encode("utf-8", "replace")


def error_response(error: ApiError) -> Json:
    """Make the answer for an error."""
    return Json(error.body, error.status, headers=error.headers)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_there(request: Request, work: Awaitable[T], stop: Callable[[], None] | None = None) -> T:
    """Wait for something as long as the client does; call `stop` when it has gone, and raise ClientGone."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request.receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        gone.cancel()
        if not working.done():
            if stop is not None:
                stop()
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await working


class EventStream(Response):
    """Server-sent events: objects of JSON, then [DONE]; an error that comes late is an event too.

    Parameters
    ----------
    events
        The objects.
    stop
        Called when the answer ends before its end: the client has gone.
    """

    def __init__(self, events: AsyncIterator[dict[str, Any]], stop: Callable[[], None]) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._events = events
        self._stop = stop
        self._last_sent = 0.0

    end = "data: [DONE]\n\n"

    def framed(self, event: dict[str, Any]) -> str:
        """An object as an event."""
        return f"data: {dumps(event)}\n\n"

    def failed(self, error: ApiError) -> dict[str, Any]:
        """An error as an object."""
        return error.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_until_gone(receive))
        gone.add_done_callback(lambda done: None if done.cancelled() else self._stop())
        awake = asyncio.ensure_future(self._stay_awake(send))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for text in self._texts():
                self._last_sent = time.monotonic()
                await _send_part(send, text)
            awake.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # what servers raise when they write to nobody
            pass
        finally:
            awake.cancel()
            gone.cancel()
            self._stop()

    async def _stay_awake(self, send: Send) -> None:
        """Say that the answer still comes, where nothing else was said for a while."""
        self._last_sent = time.monotonic()
        with contextlib.suppress(OSError):
            while True:
                quiet = time.monotonic() - self._last_sent
                await asyncio.sleep(max(_KEEP_ALIVE_SECONDS - quiet, 0.001))
                if time.monotonic() - self._last_sent >= _KEEP_ALIVE_SECONDS:
                    self._last_sent = time.monotonic()
                    await _send_part(send, ": still there\n\n")

    async def _texts(self) -> AsyncIterator[str]:
        try:
            async for event in self._events:
                yield self.framed(event)
        except Exception as error:
            yield self.framed(self.failed(as_api_error(error)))
        if self.end:
            yield self.end


async def _send_part(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": True})
