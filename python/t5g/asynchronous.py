"""Generation for asyncio: the work is done on a thread of its own, and ends when its task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from t5g.errors import UnfinishedError

if TYPE_CHECKING:
    from types import TracebackType

    from t5g.generation import Generation, Stream

_END = object()


class AsyncStream(AsyncIterator[str]):
    """Pieces of a text as they are generated, for ``async for``; each is whole characters.

    Cancelling the task, :meth:`cancel`, :meth:`aclose` and leaving an ``async with`` block stop the work within 100 ms.
    Afterwards :attr:`result` is the whole :class:`Generation`.
    """

    def __init__(self, start: Callable[[], Stream]) -> None:
        self._start = start
        self._stream: Stream | None = None
        self._queue: asyncio.Queue[Any] | None = None
        self._stopped = self._ended = False
        # Of the two above: a stream that begins while this one is stopped is stopped. Signal handlers may come between.
        self._lock = threading.RLock()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> str:
        if self._ended:
            raise StopAsyncIteration
        if self._queue is None:
            self._queue = asyncio.Queue()
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(loop, self._queue), name="t5g stream", daemon=True).start()
        try:
            item = await self._queue.get()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if isinstance(item, str):
            return item
        self._ended = True
        if isinstance(item, BaseException):
            raise item
        raise StopAsyncIteration

    def _run(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any]) -> None:
        """On the thread: puts the pieces into the queue, and then why there are no more."""

        def put(item: Any) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            except RuntimeError:  # the loop is closed: nobody waits
                self.cancel()

        try:
            stream = self._start()
            with self._lock:
                self._stream, stopped = stream, self._stopped
            if stopped:
                stream.cancel()
            for piece in stream:
                put(piece)
        except BaseException as error:
            put(error)
        else:
            put(_END)

    def cancel(self) -> None:
        """Stop generating: the step in hand ends early. From any thread."""
        with self._lock:
            self._stopped, stream = True, self._stream
        if stream is not None:
            stream.cancel()

    async def aclose(self) -> None:
        """Stop generating, and wait until the work has ended. Pieces that have not been read are in :attr:`result`."""
        self.cancel()
        while self._queue is not None and not self._ended:
            self._ended = not isinstance(await self._queue.get(), str)
        self._ended = True

    @property
    def result(self) -> Generation:
        """The whole generation. Raises ``T5gError``, also a ``RuntimeError``, while the text is being generated."""
        if self._stream is None:
            raise UnfinishedError("the stream is not finished: iterate over it first")
        return self._stream.result

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self.cancel()  # nobody reads it


async def generate(start: Callable[[], Stream]) -> Generation:
    """Run a stream to its end."""
    stream = AsyncStream(start)
    async for _ in stream:
        pass
    return stream.result
