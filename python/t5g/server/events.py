"""How answers go out while somebody watches whether the client is still there: one body, or server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
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


def new_id() -> str:
    """32 hexadecimal digits that are no secret. Asking the system would let other threads run first."""
    return f"{random.getrandbits(128):032x}"


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
        The objects; those of a list go out together.
    stop
        Called when the answer ends before its end: the client has gone.
    """

    def __init__(self, events: AsyncIterator[list[dict[str, Any]]], stop: Callable[[], None]) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._events = events
        self._stop = stop

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
        awake = _Awake(send)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for text in self._texts():
                awake.has_sent()
                await _send_part(send, text)
            awake.cancel()
            await send({"type": "http.response.body", "body": self.end.encode(), "more_body": False})
        except OSError:  # what servers raise when they write to nobody
            pass
        finally:
            awake.cancel()
            gone.cancel()
            self._stop()

    async def _texts(self) -> AsyncIterator[str]:
        try:
            async for events in self._events:
                yield "".join(map(self.framed, events))
        except Exception as error:
            yield self.framed(self.failed(as_api_error(error)))


class _Awake:
    """Says that the answer still comes, where nothing else was said for a while: a timer, as that is rare."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last_sent = self._loop.time()
        self._timer = self._loop.call_later(_KEEP_ALIVE_SECONDS, self._look)
        self._saying: asyncio.Task[None] | None = None

    def has_sent(self) -> None:
        self._last_sent = self._loop.time()

    def cancel(self) -> None:
        self._timer.cancel()
        if self._saying is not None:
            self._saying.cancel()

    def _look(self) -> None:
        if self._loop.time() - self._last_sent >= _KEEP_ALIVE_SECONDS:
            self._last_sent = self._loop.time()
            if self._saying is None or self._saying.done():  # otherwise the client takes nothing
                self._saying = self._loop.create_task(self._say())
        self._timer = self._loop.call_at(self._last_sent + _KEEP_ALIVE_SECONDS, self._look)

    async def _say(self) -> None:
        with contextlib.suppress(OSError):
            await _send_part(self._send, ": still there\n\n")


async def _send_part(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": True})
