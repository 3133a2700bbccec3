"""Events on their way from the batch to answers: merged where they come faster than they go, and never lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import t5g
from support.serving import Running
from t5g.generation import Generation
from t5g.server.batch import Batch
from t5g.server.calls import Call, Inbox
from t5g.server.work import Event, Fresh, Spec, Work

TEXT = "httpx is a fully featured HTTP client library for Python 3."


class Engine:
    """As much of an engine as a call knows."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self.n_ended = 0

    def _one_has_ended(self) -> None:
        self.n_ended += 1

    def __getattr__(self, name: str) -> Any:
        return self

    def count(self, *_: object) -> None:
        """Count nothing."""

    def leave(self, *_: object) -> None:
        """Stop nothing."""

    def look_again(self) -> None:
        """Look nowhere."""


def a_call(inbox: Inbox, model: t5g.Model, n: int) -> Call:
    call = Call(Engine(), inbox, n, 60.0)  # type: ignore[arg-type]
    config = t5g._core.sampling.GenerationConfig()
    for index in range(n):
        spec = Spec(([5], [], None), [], config, t5g._core.TextOptions([], True))
        call.works.append(Work(spec, call.teller(index)))
    return call


async def seen(call: Call) -> list[tuple[int, Event]]:
    return [event async for event in call.events()]


def test_texts_that_come_faster_than_they_go_become_one(model: t5g.Model) -> None:
    result = model.generate(TEXT, max_new_tokens=2)

    async def ask() -> list[tuple[int, Event]]:
        call = a_call(Inbox(asyncio.get_running_loop()), model, 2)
        for number in range(5):
            call.works[0].tell(Fresh(0, f"a{number}", [(number, -1.0, {})]))
            call.works[1].tell(Fresh(1, f"b{number}"))
        for work in call.works:
            work.tell(result)
        return await seen(call)

    (_, first), (_, second), *results = events = asyncio.run(ask())
    assert (first, second) == (
        Fresh(0, "a0a1a2a3a4", [(number, -1.0, {}) for number in range(5)]),
        Fresh(1, "b0b1b2b3b4"),
    )
    assert [index for index, _ in events] == [0, 1, 0, 1]
    assert all(isinstance(event, Generation) for _, event in results)


def test_one_answer_is_told_at_once_and_many_together(model: t5g.Model) -> None:
    result = model.generate(TEXT, max_new_tokens=2)

    async def ask(n: int) -> float:
        """Seconds until the second event of each of so many answers comes."""
        inbox = Inbox(asyncio.get_running_loop())
        calls = [a_call(inbox, model, 1) for _ in range(n)]
        streams = [call.events() for call in calls]
        for call in calls:
            call.works[0].tell(Fresh(0, "a"))
        for stream in streams:
            await anext(stream)
        start = time.perf_counter()
        for call in calls:
            call.works[0].tell(result)
        for stream in streams:
            assert isinstance((await anext(stream))[1], Generation)
            await stream.aclose()
        return time.perf_counter() - start

    assert min(asyncio.run(ask(1)) for _ in range(20)) < 0.005
    assert asyncio.run(ask(40)) > 0.009


def test_texts_that_are_never_due_come_with_the_result(
    server: Running, model: t5g.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inbox, "is_due", False)
    body = {"prompt": TEXT, "max_tokens": 12, "min_new_tokens": 12, "stream": True, "logprobs": 1}
    alone = model.generate(TEXT, max_new_tokens=12, min_new_tokens=12)
    first, last = server.post("/v1/completions", body).events
    assert first["choices"][0]["text"] == alone.text
    assert len(first["choices"][0]["logprobs"]["tokens"]) == 12
    assert last["choices"][0]["finish_reason"] == "length"


def test_an_answer_that_takes_long_says_that_it_still_comes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t5g.server.events._KEEP_ALIVE_SECONDS", 0.02)
    step = Batch._step

    def slow(batch: Batch) -> None:
        time.sleep(0.1)
        step(batch)

    monkeypatch.setattr(Batch, "_step", slow)
    answer = server.post("/v1/completions", {"prompt": TEXT, "max_tokens": 3, "stream": True})
    assert b": still there\n\n" in answer.content
    assert answer.events
