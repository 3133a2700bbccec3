"""Two threads that read sources beside the running batch, one of which takes short sources only."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

from t5g import _core

SHORT = 4096  # tokens of a source that does not wait for longer ones


class Readers:
    """Threads that run what takes the encoder: in order, but that one of them takes nothing long."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, bool, _core.StopFlag, Callable[[], None]]] = deque()
        self._ended = False
        self._threads = [
            threading.Thread(target=self._run, args=(longest,), name="t5g-reader", daemon=True)
            for longest in (math.inf, SHORT)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, n_tokens: int, run: Callable[[], None], stop: _core.StopFlag, *, for_batch: bool) -> None:
        """Run something when its turn comes; for_batch: only while the batch has room for its source.

        What was stopped meanwhile has nothing to wait for: its turn is the next.
        """
        with self._changed:
            self._waiting.append((n_tokens, for_batch, stop, run))
            self._changed.notify_all()

    def look_again(self) -> None:
        """There may be room now."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, longest: float) -> None:
        while (run := self._next(longest)) is not None:
            run()

    def _next(self, longest: float) -> Callable[[], None] | None:
        with self._changed:
            while not self._ended:
                room = self._has_room()
                for i, (n_tokens, for_batch, stop, run) in enumerate(self._waiting):
                    if stop.is_set or (n_tokens <= longest and (room or not for_batch)):
                        del self._waiting[i]
                        return run
                self._changed.wait()
        return None
