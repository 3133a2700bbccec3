"""The running batch and its thread: sources join it and leave it between two steps, and are told what they have got."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from t5g import _core
from t5g.generation import Generation
from t5g.server.errors import shutting_down
from t5g.server.work import Event, Fresh, Work, gone

if TYPE_CHECKING:
    from t5g.model import Model
    from t5g.server.metrics import Metrics

_log = logging.getLogger("t5g.server")


class Batch:
    """The batch and its thread.

    Parameters
    ----------
    model, rows, metrics
        What runs, how many texts at most, and what counts them.
    on_end
        Called when one has left.
    wants_texts
        Asked after a step whether texts that are not at their end are sent now; otherwise they go on growing.
    """

    def __init__(
        self,
        model: Model,
        rows: int,
        metrics: Metrics,
        on_end: Callable[[], None],
        wants_texts: Callable[[], bool] = lambda: True,
    ) -> None:
        self._model = model
        self._rows = rows
        self._metrics = metrics
        self._on_end = on_end
        self._wants_texts = wants_texts
        self._n_going_on = 0  # that ran in the last step and still do
        self._last_step = 0.0
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
            self._end(work, gone())
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
            self._n_going_on = 0
            for work in failed.values():
                self._end(work, error)
            generator.close()
            self._generator = None
            return
        now = time.perf_counter()
        self._metrics.observe("t5g_token_seconds", now - self._last_step, self._n_going_on)
        self._last_step = now
        if self._wants_texts():
            self._tell_texts(generator)
        self._take_finished(generator)
        self._n_going_on = len(self._running)

    def _tell_texts(self, generator: _core.Generator) -> None:
        now = time.perf_counter()
        for number, sequence, text, tokens in generator.take_texts():
            work = self._running.get(number)
            if work is None:  # it has ended since it wrote this, which came with its result
                continue
            if not work.has_begun:
                work.has_begun = True
                self._metrics.observe("t5g_first_token_seconds", now - work.begun)
            work.tell(Fresh(sequence, text, tokens))

    def _take_finished(self, generator: _core.Generator) -> None:
        for number, result in generator.take_finished():
            work = self._running.pop(number)
            if isinstance(result, _core.RequestError):
                self._end(work, _thrown(result))
                continue
            generation = Generation._from_core(result, self._model.load_seconds)
            self._metrics.count("t5g_generated_tokens_total", generation.timings.n_new_tokens)
            self._end(work, gone() if generation.finish_reason == "cancelled" else generation)

    def _end(self, work: Work, event: Event) -> None:
        work.tell(event)
        self._on_end()


def _thrown(error: _core.RequestError) -> Exception:
    try:
        error.throw()
    except Exception as thrown:
        return thrown
    raise AssertionError("throw() returns")
