"""Where requests become work: two threads read sources, one runs the batch, and events go back to the event loop.

Sources are read beside the running batch, one block of theirs for one step of the batch (passes of one model give way
to each other), so that a long one stalls nobody. One of the readers takes short sources only: they never wait for a
long one. Encoded sources then join the batch, which nobody but its thread touches.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from t5g import _core
from t5g.server.batch import Batch
from t5g.server.calls import Call, Inbox
from t5g.server.errors import ApiError, shutting_down, timed_out, wrong
from t5g.server.readers import Readers
from t5g.server.work import Spec, Work, gone
from t5g.sources import n_truncated

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.metrics import Metrics
    from t5g.server.settings import Settings

T = TypeVar("T")

_AHEAD = 4  # sources that are ready before the batch has room: more would only hold memory


class Engine:
    """A model at work for many requests. All but the threads' own parts is for the event loop's thread."""

    def __init__(self, model: Model, settings: Settings, metrics: Metrics) -> None:
        self.model = model
        self.settings = settings
        self.metrics = metrics
        self._n_active = 0
        self._n_read = 0  # sources that are being read, or wait for the batch, or run in it
        self._lock = threading.Lock()
        self._calls: set[Call] = set()
        self._inbox: Inbox | None = None
        self._draining = self._closed = False
        self._threads = ThreadPoolExecutor(4, "t5g-request")
        self.readers = Readers(lambda: self._n_read < settings.max_batch_size + _AHEAD)
        self.batch = Batch(model, settings.max_batch_size, metrics, self._left_the_batch, self._wants_texts)
        metrics.gauges["t5g_running"] = lambda: self.batch.n_running
        metrics.gauges["t5g_waiting"] = lambda: max(0, self._n_active - self.batch.n_running)

    @property
    def is_draining(self) -> bool:
        """Whether no new requests are taken, because the server stops."""
        return self._draining

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what takes a moment (tokenising, decoding images) beside the event loop."""
        self.check_open()
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def check_open(self) -> None:
        if self._draining:
            raise shutting_down()

    # ---- Generating ----

    def start(self, specs: Sequence[Spec], timeout: float) -> Call:
        """Queue sources, or refuse them with 429."""
        self.check_open()
        self._admit(len(specs))
        call = Call(self, self._inbox_of(asyncio.get_running_loop()), len(specs), timeout)
        self._calls.add(call)
        for index, spec in enumerate(specs):
            work = Work(spec, call.teller(index), begun=time.perf_counter())
            call.works.append(work)
            self.metrics.count("t5g_source_tokens_total", spec.n_tokens)
            self.readers.put(spec.n_tokens, functools.partial(self._read, work), work.stop, for_batch=True)
        return call

    def _inbox_of(self, loop: asyncio.AbstractEventLoop) -> Inbox:
        if self._inbox is None or self._inbox.loop is not loop:
            self._inbox = Inbox(loop)
        return self._inbox

    def _admit(self, n: int) -> None:
        limit = self.settings.max_batch_size + self.settings.max_queue
        if n > limit:
            raise wrong("prompt", f"there are {n:,} sources, expected at most {limit:,} in one request.")
        if self._n_active + n > limit:
            self.metrics.count("t5g_refused_total")
            rounds = math.ceil(self._n_active / self.settings.max_batch_size)
            seconds = min(60, max(1, math.ceil(self.metrics.mean_request_seconds * rounds)))
            raise ApiError(
                429,
                f"{self._n_active:,} sources wait or run already. Try again in {seconds} s.",
                code="queue_full",
                headers={"Retry-After": str(seconds)},
            )
        self._n_active += n

    def _one_has_ended(self) -> None:
        self._n_active -= 1

    def _read(self, work: Work) -> None:
        """On a reader's thread: bring a source to the batch."""
        with self._lock:
            self._n_read += 1
        try:
            source = None if work.stop.is_set else self._encoded(work)
        except Exception as error:
            self.batch._end(work, error)
            return
        if source is None:
            self.batch._end(work, gone())
        else:
            self.batch.join(work, source)

    def _encoded(self, work: Work) -> _core.EncodedSource | None:
        assert work.spec is not None
        source = self.encode(work.spec.request, work.stop)
        return source if source is not None and self.model._native.prepare(source, work.stop) else None

    def _wants_texts(self) -> bool:
        return self._inbox is None or self._inbox.is_due

    def _left_the_batch(self) -> None:
        with self._lock:
            self._n_read -= 1
        self.readers.look_again()

    # ---- Encoding alone ----

    def encode(self, request: Any, stop: _core.StopFlag) -> _core.EncodedSource | None:
        """On a reader's thread: encode a source that was checked, where that has not been done; None when stopped."""
        native: Any = self.model._native
        source: _core.EncodedSource | None = request
        if isinstance(request, tuple):
            source = native.encode(*request, stop=stop, n_truncated=n_truncated(request))
        return source

    async def read(self, n_tokens: int, function: Callable[[_core.StopFlag], T | None]) -> T:
        """Run what takes the encoder and not the batch. function: may end early, with None, when its flag is set."""
        self.check_open()
        self._admit(1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        stop = _core.StopFlag()

        def finish(result: T | None, error: Exception | None) -> None:
            self._one_has_ended()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            elif result is None:
                future.set_exception(gone())
            else:
                future.set_result(result)

        def run() -> None:
            result = error = None
            try:
                result = None if stop.is_set else function(stop)
            except Exception as failure:
                error = failure
            loop.call_soon_threadsafe(finish, result, error)

        self.metrics.count("t5g_source_tokens_total", n_tokens)
        self.readers.put(n_tokens, run, stop, for_batch=False)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.settings.timeout_seconds)
        except asyncio.TimeoutError:
            self.metrics.count("t5g_timeouts_total")
            raise timed_out(self.settings.timeout_seconds) from None
        finally:
            stop.set()
            self.readers.look_again()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else may look

    # ---- The end ----

    def drain(self) -> None:
        """Take no more requests."""
        self._draining = True

    def stop_all(self) -> None:
        """Stop every request, and tell it that the server goes."""
        self._draining = True
        for call in list(self._calls):
            call.fail(shutting_down())

    def close(self) -> None:
        """End the threads."""
        if self._closed:
            return
        self._closed = True
        self.stop_all()
        self.batch.close()
        self.readers.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
