"""Where requests become work: two threads read sources, one runs the batch, and events go back to the event loop.

Sources are read beside the running batch, one block of theirs for one step of the batch (passes of one model give way
to each other), so that a long one stalls nobody. One of the readers takes short sources only: they never wait for a
long one. Encoded sources then join the batch, which nobody but its thread touches.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from t5g import _core
from t5g.generation import Generation
from t5g.server.errors import ApiError, shutting_down, timed_out, wrong

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.metrics import Metrics
    from t5g.server.settings import Settings
    from t5g.sources import Request

T = TypeVar("T")

SHORT = 4096  # tokens of a source that does not wait for longer ones
_AHEAD = 4  # sources that are ready before the batch has room: more would only hold memory
_log = logging.getLogger("t5g.server")


@dataclass(frozen=True)
class Spec:
    """One source and what is asked of it.

    Attributes
    ----------
    request
        Token ids and pixels, or a source that is encoded.
    prefix
        The decoder's first tokens.
    config, text
        Options of generation.
    streams
        Whether text is wanted as it comes.
    """

    request: Request
    prefix: list[int]
    config: _core.sampling.GenerationConfig
    text: _core.TextOptions
    streams: bool = False

    @property
    def n_tokens(self) -> int:
        return len(self.request[0]) if isinstance(self.request, tuple) else self.request.n_tokens


@dataclass(frozen=True)
class Fresh:
    """Text of a sequence that has become certain."""

    sequence: int
    text: str


Event = Fresh | Generation | Exception


@dataclass(eq=False)
class Work:
    """A spec on its way, and where its events go. The event loop sets `stop`; the rest is the threads'."""

    spec: Spec | None  # until the batch has it
    tell: Callable[[Event], None]
    stop: _core.StopFlag = field(default_factory=_core.StopFlag)
    number: int | None = None  # in the batch
    begun: float = 0.0
    last_text: float = 0.0
    ended: bool = False


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


class Batch:
    """The running batch and its thread."""

    def __init__(self, model: Model, rows: int, metrics: Metrics, on_end: Callable[[], None]) -> None:
        self._model = model
        self._rows = rows
        self._metrics = metrics
        self._on_end = on_end
        self._generator: _core.Generator | None = None
        self._changed = threading.Condition()
        self._commands: deque[Callable[[], None]] = deque()
        self._running: dict[int, Work] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="t5g-batch", daemon=True)
        self._thread.start()

    @property
    def n_running(self) -> int:
        return len(self._running)

    def join(self, work: Work, source: _core.EncodedSource) -> None:
        self._put(lambda: self._add(work, source))

    def leave(self, work: Work) -> None:
        self._put(lambda: self._cancel(work))

    def close(self) -> None:
        """Stop what runs; each is told."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if (generator := self._generator) is not None:
            generator.cancel()
        self._thread.join()

    def _put(self, command: Callable[[], None]) -> None:
        with self._changed:
            self._commands.append(command)
            self._changed.notify_all()

    # ---- On the batch's thread ----

    def _ready(self) -> _core.Generator:
        """The generator; a new one at first, and after one has failed."""
        if self._generator is None:
            config, text = _core.sampling.GenerationConfig(), _core.TextOptions([], True)
            self._generator = _core.Generator(self._model._native, [], [], text, self._rows, config)
            self._generator.keep_errors()
        return self._generator

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._commands or self._running or self._ended):
                    self._changed.wait()
                commands, self._commands = self._commands, deque()
                if self._ended:
                    break
            while commands:
                commands.popleft()()  # and forget it: it holds a source
            if self._running:
                self._step()
        for work in [*self._running.values()]:
            self._end(work, shutting_down())
        self._running.clear()
        if self._generator is not None:
            self._generator.close()

    def _add(self, work: Work, source: _core.EncodedSource) -> None:
        spec, work.spec = work.spec, None
        assert spec is not None
        if work.stop.is_set:
            self._end(work, _gone())
            return
        try:
            work.number = self._ready().add(source, spec.prefix, spec.config, spec.text, spec.streams)
        except Exception as error:
            self._end(work, error)
            return
        self._running[work.number] = work

    def _cancel(self, work: Work) -> None:
        if work.number in self._running:
            generator = self._ready()
            generator.cancel_one(work.number)
            self._take_finished(generator)

    def _step(self) -> None:
        generator = self._ready()
        try:
            generator.step()
        except Exception as error:  # it has stopped: nobody knows whose fault it was
            _log.error("the batch failed: %s: %s", type(error).__name__, error)
            failed, self._running = self._running, {}
            for work in failed.values():
                self._end(work, error)
            generator.close()
            self._generator = None
            return
        now = time.perf_counter()
        for number, sequence, text in generator.take_texts():
            work = self._running[number]
            if work.last_text:
                self._metrics.observe("t5g_token_seconds", now - work.last_text)
            else:
                self._metrics.observe("t5g_first_token_seconds", now - work.begun)
            work.last_text = now
            work.tell(Fresh(sequence, text))
        self._take_finished(generator)

    def _take_finished(self, generator: _core.Generator) -> None:
        for number, result in generator.take_finished():
            work = self._running.pop(number)
            if isinstance(result, _core.RequestError):
                self._end(work, _thrown(result))
                continue
            generation = Generation._from_core(result, self._model.load_seconds)
            self._metrics.count("t5g_generated_tokens_total", generation.timings.n_new_tokens)
            self._end(work, _gone() if generation.finish_reason == "cancelled" else generation)

    def _end(self, work: Work, event: Event) -> None:
        work.tell(event)
        self._on_end()


def _thrown(error: _core.RequestError) -> Exception:
    try:
        error.throw()
    except Exception as thrown:
        return thrown
    raise AssertionError("throw() returns")


def _gone() -> ApiError:
    return ApiError(499, "the client has gone, so the work was stopped.", code="cancelled")


class Call:
    """A request's works, and their events as the event loop sees them. Made by :meth:`Engine.start`."""

    def __init__(self, engine: Engine, n: int, timeout: float) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._left = n
        self._timeout = timeout
        self.works: list[Work] = []
        self._timer = self._loop.call_later(timeout, self._expire)

    def teller(self, index: int) -> Callable[[Event], None]:
        """What a work of this call tells its events to, from any thread."""

        def tell(event: Event) -> None:
            try:
                self._loop.call_soon_threadsafe(self._arrived, index, event)
            except RuntimeError:  # the loop is closed: nobody listens
                _log.debug("an event came after the end")

        return tell

    async def events(self) -> AsyncIterator[tuple[int, Fresh | Generation]]:
        """All events, with the number of the source that they are of. Raises what went wrong with any."""
        left = len(self.works)
        try:
            while left:
                index, event = await self._events.get()
                if isinstance(event, Exception):
                    raise event
                left -= isinstance(event, Generation)
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
        for work in self.works:
            if not work.ended and not work.stop.is_set:
                work.stop.set()
                self._engine.metrics.count("t5g_cancelled_total")
                self._engine.batch.leave(work)
        self._engine.readers.look_again()

    def fail(self, error: Exception) -> None:
        """Stop what is not done, and tell why."""
        self._events.put_nowait((0, error))
        self.cancel()

    def _expire(self) -> None:
        self._engine.metrics.count("t5g_timeouts_total")
        self.fail(timed_out(self._timeout))

    def _arrived(self, index: int, event: Event) -> None:
        if not isinstance(event, Fresh):
            self.works[index].ended = True
            self._left -= 1
            self._engine._one_has_ended()
            if self._left == 0:
                self._timer.cancel()
                self._engine._calls.discard(self)
        self._events.put_nowait((index, event))


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
        self._draining = self._closed = False
        self._threads = ThreadPoolExecutor(4, "t5g-request")
        self.readers = Readers(lambda: self._n_read < settings.max_batch_size + _AHEAD)
        self.batch = Batch(model, settings.max_batch_size, metrics, self._left_the_batch)
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
        call = Call(self, len(specs), timeout)
        self._calls.add(call)
        for index, spec in enumerate(specs):
            work = Work(spec, call.teller(index), begun=time.perf_counter())
            call.works.append(work)
            self.metrics.count("t5g_source_tokens_total", spec.n_tokens)
            self.readers.put(spec.n_tokens, functools.partial(self._read, work), work.stop, for_batch=True)
        return call

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
            self.batch._end(work, _gone())
        else:
            self.batch.join(work, source)

    def _encoded(self, work: Work) -> _core.EncodedSource | None:
        assert work.spec is not None
        source = self.encode(work.spec.request, work.stop)
        return source if source is not None and self.model._native.prepare(source, work.stop) else None

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
            source = native.encode(*request, stop=stop)
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
                future.set_exception(_gone())
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
