"""Two threads that read sources beside the running batch, one of which takes short sources only.

Who has work for them hands it to one that is idle: a thread is woken only for what it can take.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from t5g import _core

SHORT = 4096  # tokens of a source that does not wait for longer ones


class _Reader:
    """One of the threads."""

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.handed: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # what it is woken for; None: the end


class Readers:
    """Threads that run what takes the encoder: in order, but that one of them takes nothing long."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, bool, _core.StopFlag, Callable[[], None]]] = deque()
        self._idle: list[_Reader] = []
        self._ended = False
        self._threads = [
            threading.Thread(target=self._run, args=(_Reader(longest),), name="t5g-reader", daemon=True)
            for longest in (SHORT, math.inf)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, n_tokens: int, run: Callable[[], None], stop: _core.StopFlag, *, for_batch: bool) -> None:
        """Run something when its turn comes; for_batch: only while the batch has room for its source.

        What was stopped meanwhile has nothing to wait for: its turn is the next.
        """
        with self._lock:
            self._waiting.append((n_tokens, for_batch, stop, run))
            self._hand_out()

    def look_again(self) -> None:
        """There may be room now."""
        if self._waiting:  # who adds the first one looks himself
            with self._lock:
                self._hand_out()

    def close(self) -> None:
        with self._lock:
            self._ended = True
            for reader in self._idle:
                reader.handed.put(None)
            self._idle.clear()
        for thread in self._threads:
            thread.join()

    # ---- Under the lock ----

    def _hand_out(self) -> None:
        """Give idle readers what they can take, the one for short sources first: the other is kept for long ones."""
        for reader in sorted(self._idle, key=lambda reader: reader.longest):
            if (run := self._taken(reader.longest)) is not None:
                self._idle.remove(reader)
                reader.handed.put(run)

    def _taken(self, longest: float) -> Callable[[], None] | None:
        room = self._has_room()
        for i, (n_tokens, for_batch, stop, run) in enumerate(self._waiting):
            if stop.is_set or (n_tokens <= longest and (room or not for_batch)):
                del self._waiting[i]
                return run
        return None

    # ---- On their threads ----

    def _run(self, reader: _Reader) -> None:
        while (run := self._next(reader)) is not None:
            run()

    def _next(self, reader: _Reader) -> Callable[[], None] | None:
        with self._lock:
            if self._ended:
                return None
            if (run := self._taken(reader.longest)) is not None:
                return run
            self._idle.append(reader)
        return reader.handed.get()
