"""A stream used by several threads, or by a signal handler while it is being read: turns, or a quiet end."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import t5g

IDS = [5, 9, 200, 31, 77, 8, 120, 4, 66]
KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3, "num_return_sequences": 3},
    {"num_beams": 3},
]


def read(stream: t5g.Stream, pieces: list[str], errors: list[BaseException]) -> None:
    try:
        for piece in stream:
            pieces.append(piece)
    except BaseException as error:
        errors.append(error)


def run(*targets: tuple[Any, ...]) -> None:
    """Call each target, a function and its arguments, in a thread of its own."""
    threads = [threading.Thread(target=function, args=arguments) for function, *arguments in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def stop_after(seconds: float, stop: Callable[[], None]) -> None:
    time.sleep(seconds)
    stop()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_threads_take_turns(tiny_model: t5g.Model, kind: dict[str, Any]) -> None:
    options = {"max_new_tokens": 60, "min_new_tokens": 60, **kind}
    expected = tiny_model.generate(IDS, **options)
    for _ in range(10):
        stream = tiny_model.stream(IDS, **options)
        parts: list[list[str]] = [[], [], []]
        errors: list[BaseException] = []
        run(*((read, stream, part, errors) for part in parts))
        assert errors == []
        # Each piece went to one of them; which thread notes its piece first is not the stream's to say.
        assert sorted("".join(itertools.chain(*parts))) == sorted(expected.text)
        assert stream.result.token_ids == expected.token_ids


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_stopping_from_another_thread_ends_the_iteration(
    tiny_model: t5g.Model, kind: dict[str, Any], stop: str
) -> None:
    limit = tiny_model.config.decoder.max_position_embeddings - 2
    for round in range(15):
        stream = tiny_model.stream(IDS, max_new_tokens=limit, min_new_tokens=limit, **kind)
        pieces: list[str] = []
        errors: list[BaseException] = []
        reader = (read, stream, pieces, errors)
        run(reader, reader, (stop_after, 0.001 * round, getattr(stream, stop)))
        assert errors == []
        assert stream.result.finish_reason in ("cancelled", "length")
        assert len(stream.result.text) >= len("".join(pieces))
        assert list(stream) == []


def test_results_are_the_same_for_all_threads(tiny_model: t5g.Model) -> None:
    stream = tiny_model.stream(IDS, max_new_tokens=20, min_new_tokens=20)
    list(stream)
    found: list[t5g.Generation] = []
    run(*[(lambda: found.append(stream.result),)] * 4)
    assert len(found) == 4
    assert all(result == found[0] for result in found)


@contextmanager
def alarm(handler: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call the handler in this thread, again and again."""

    def handle(number: int, frame: FrameType | None) -> None:
        handler()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")


@pytest.fixture
def long_call(tiny_model: t5g.Model) -> Callable[[t5g.Model], t5g.Stream]:
    """A stream whose first piece takes long enough for a signal to come in the midst of native code."""
    limit = tiny_model.config.decoder.max_position_embeddings - 2
    options = {"max_new_tokens": limit, "min_new_tokens": limit, "num_beams": 8, "length_penalty": 0.0}
    return lambda model: model.stream(IDS, **options)


@needs_signals
@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_a_signal_handler_may_stop_the_stream_it_interrupts(
    tiny_model: t5g.Model, long_call: Callable[[t5g.Model], t5g.Stream], stop: str
) -> None:
    stream = long_call(tiny_model)
    with alarm(getattr(stream, stop), 0.03):
        list(stream)
    assert stream.result.finish_reason == "cancelled"


@needs_signals
def test_a_signal_handler_may_close_the_model(
    tiny_model: t5g.Model, long_call: Callable[[t5g.Model], t5g.Stream]
) -> None:
    model = t5g.Model(tiny_model.path)
    stream = long_call(model)
    with alarm(model.close, 0.03), pytest.raises(ValueError, match="closed"):
        list(stream)
    assert stream.result.finish_reason == "cancelled"


@needs_signals
def test_a_signal_handler_that_needs_the_interrupted_model_is_told_so(
    tiny_model: t5g.Model, long_call: Callable[[t5g.Model], t5g.Stream]
) -> None:
    stream = long_call(tiny_model)
    with alarm(lambda: tiny_model.encode(IDS), 0.03), pytest.raises(ValueError, match="in use by this very thread"):
        list(stream)
    stream = long_call(tiny_model)
    with alarm(lambda: next(stream), 0.03), pytest.raises(ValueError, match="in use by this very thread"):
        list(stream)
