"""The events of a request, on their way from the threads that compute to the event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from t5g.generation import Generation
from t5g.server.errors import timed_out
from t5g.server.work import Event, Fresh, Work

if TYPE_CHECKING:
    from t5g.server.engine import Engine

_log = logging.getLogger("t5g.server")


# Seconds that pass between two deliveries, for each answer that the last one had news for; and at most. Sending it
# takes about an eighth of that, so what goes out takes little of the machine from what computes; and nobody reads
# faster than 25 times a second.
_PAUSE, _LONGEST_PAUSE = 0.0008, 0.04


class Inbox:
    """Events on their way to the event loop, which is woken for many at once.

    A single answer's events are delivered as they come. The more answers go out together, the longer it waits between
    two deliveries: a stream then has a few tokens in each of its events, and sending costs little beside computing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._events: deque[tuple[Call, int, Event]] = deque()
        self._woken = False
        self._next = 0.0  # not to deliver before

    @property
    def is_due(self) -> bool:
        """Whether news would be delivered now, as far as another thread can see."""
        return self.loop.time() >= self._next

    def put(self, call: Call, index: int, event: Event) -> None:
        """Hand over an event, from any thread."""
        self._events.append((call, index, event))
        if self._woken:
            return
        self._woken = True
        try:
            self.loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed: nobody listens
            _log.debug("an event came after the end")

    def _wake(self) -> None:
        if self.loop.time() < self._next:
            self.loop.call_at(self._next, self._deliver)
        else:
            self._deliver()

    def _deliver(self) -> None:
        self._woken = False  # first: who comes from now on wakes it again
        n_news = 0
        for _ in range(len(self._events)):
            call, index, event = self._events.popleft()
            n_news += call._arrived(index, event)
        self._next = self.loop.time() + min(_PAUSE * max(n_news - 1, 0), _LONGEST_PAUSE)


class Call:
    """A request's works, and their events as the event loop sees them. Made by :meth:`Engine.start`."""

    def __init__(self, engine: Engine, inbox: Inbox, n: int, timeout: float) -> None:
        self._engine = engine
        self._inbox = inbox
        self._events: deque[tuple[int, Event]] = deque()
        self._unread: dict[tuple[int, int], Fresh] = {}  # the texts among them, by source and sequence
        self._come = asyncio.Event()
        self._left = n
        self._timeout = timeout
        self.works: list[Work] = []
        self._timer = inbox.loop.call_later(timeout, self._expire)

    def teller(self, index: int) -> Callable[[Event], None]:
        """What a work of this call tells its events to, from any thread."""
        return functools.partial(self._inbox.put, self, index)

    async def events(self) -> AsyncIterator[tuple[int, Fresh | Generation]]:
        """All events, with the number of the source that they are of. Raises what went wrong with any.

        Texts of a sequence that come faster than they are taken become one.
        """
        left = len(self.works)
        try:
            while left:
                while not self._events:
                    self._come.clear()
                    await self._come.wait()
                index, event = self._events.popleft()
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, Generation):
                    left -= 1
                else:
                    del self._unread[index, event.sequence]
                yield index, event
        finally:
            self.cancel()

    async def results(self) -> list[Generation]:
        """Wait for the results of all sources."""
        found: dict[int, Generation] = {}
        async for index, event in self.events():
            if isinstance(event, Generation):
                found[index] = event
        return [found[i] for i in range(len(found))]

    def cancel(self) -> None:
        """Stop what is not done."""
        self._timer.cancel()
        stopped = [work for work in self.works if not work.ended and not work.stop.is_set]
        for work in stopped:
            work.stop.set()
            self._engine.metrics.count("t5g_cancelled_total")
            self._engine.batch.leave(work)
        if stopped:
            self._engine.readers.look_again()

    def fail(self, error: Exception) -> None:
        """Stop what is not done, and tell why."""
        self._put(0, error)
        self.cancel()

    def _expire(self) -> None:
        self._engine.metrics.count("t5g_timeouts_total")
        self.fail(timed_out(self._timeout))

    def _arrived(self, index: int, event: Event) -> bool:
        """Take an event; whether it is more than what waits already."""
        if isinstance(event, Fresh):
            if (unread := self._unread.get((index, event.sequence))) is not None:
                unread.text += event.text
                unread.tokens += event.tokens
                return False
            self._unread[index, event.sequence] = event
        else:
            self.works[index].ended = True
            self._left -= 1
            self._engine._one_has_ended()
            if self._left == 0:
                self._timer.cancel()
                self._engine._calls.discard(self)
        self._put(index, event)
        return True

    def _put(self, index: int, event: Event) -> None:
        self._events.append((index, event))
        self._come.set()
