"""astream and agenerate: the text of stream, on a thread of its own that ends with its task."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import t5g

SOURCE = "tar is an archiving program for files. It can compress them, too."


@pytest.fixture(scope="module")
def model() -> Any:
    with t5g.Model() as model:
        yield model


# Slow enough for a test to come between: 20 ms a token, for seconds.
SLOW: dict[str, Any] = {"allowed_tokens": lambda _: time.sleep(0.02), "min_new_tokens": 200, "max_new_tokens": 200}


def test_pieces_and_results_are_those_of_stream(model: t5g.Model) -> None:
    async def run() -> None:
        for options in ({}, {"temperature": 1.0, "seed": 1}, {"num_beams": 3}, {"choices": ["a tool", "a server"]}):
            expected = model.generate(SOURCE, max_new_tokens=12, **options)
            stream = model.astream(SOURCE, max_new_tokens=12, **options)
            assert "".join([piece async for piece in stream]) == expected.text
            assert stream.result.token_ids == expected.token_ids
            out = await model.agenerate(SOURCE, max_new_tokens=12, **options)
            assert (out.token_ids, out.logprob) == (expected.token_ids, expected.logprob)

    asyncio.run(run())


def test_many_tasks_at_once(model: t5g.Model) -> None:
    sources = [SOURCE, "a web server", "an editor", "x"] * 3

    async def run() -> list[t5g.Generation]:
        return await asyncio.gather(*(model.agenerate(source, max_new_tokens=8) for source in sources))

    outs = asyncio.run(run())
    assert [o.token_ids for o in outs] == [model.generate(s, max_new_tokens=8).token_ids for s in sources]


def test_the_loop_goes_on_meanwhile(model: t5g.Model) -> None:
    async def run() -> int:
        task = asyncio.create_task(model.agenerate(SOURCE, timeout=0.4, **SLOW))
        n = 0
        while not task.done():
            await asyncio.sleep(0.01)
            n += 1
        assert (await task).finish_reason == "timeout"
        return n

    assert asyncio.run(run()) > 10


def calls_after(model: t5g.Model, stop: Any) -> int:
    """How often the constraint is still asked, 100 ms after a task was stopped."""
    n_calls = 0

    def allowed(_: list[int]) -> None:
        nonlocal n_calls
        n_calls += 1
        time.sleep(0.01)

    async def run() -> int:
        stream = model.astream(SOURCE, **SLOW | {"allowed_tokens": allowed})
        assert isinstance(await anext(aiter(stream)), str)
        await stop(stream)
        await asyncio.sleep(0.1)
        before = n_calls
        await asyncio.sleep(0.1)
        return n_calls - before

    return asyncio.run(run())


async def cancel_the_task(stream: Any) -> None:
    async def read() -> None:
        async for _ in stream:
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel(stream: Any) -> None:
    stream.cancel()
    _ = [piece async for piece in stream]
    assert stream.result.finish_reason == "cancelled"


async def close(stream: Any) -> None:
    await stream.aclose()
    assert stream.result.finish_reason == "cancelled"
    assert [piece async for piece in stream] == []


async def leave(stream: Any) -> None:
    async with stream:
        pass


@pytest.mark.parametrize("stop", [cancel_the_task, cancel, close, leave])
def test_work_ends_within_100_ms(model: t5g.Model, stop: Any) -> None:
    assert calls_after(model, stop) == 0
    assert model.generate(SOURCE, max_new_tokens=2).token_ids


def test_cancelling_agenerate_ends_the_work(model: t5g.Model) -> None:
    async def run() -> float:
        task = asyncio.create_task(model.agenerate([5] * 2000, min_new_tokens=200, max_new_tokens=200))
        await asyncio.sleep(0.05)
        task.cancel()
        begin = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The model is free for others.
        await model.agenerate(SOURCE, max_new_tokens=1)
        return time.perf_counter() - begin

    assert (
        asyncio.run(run()) < 2
    )  # the machine may be busy; 2,000 tokens alone would take as long, 200 more much longer


def test_errors_come_out(model: t5g.Model) -> None:
    async def run() -> None:
        with pytest.raises(t5g.InvalidArgumentError, match="top_p"):
            await model.agenerate(SOURCE, top_p=7)
        with pytest.raises(t5g.ArgumentTypeError, match="has no argument 'temprature'"):
            async for _ in model.astream(SOURCE, temprature=1):
                pass
        with pytest.raises(ZeroDivisionError):
            await model.agenerate(SOURCE, allowed_tokens=lambda ids: 1 // 0)
        with pytest.raises(RuntimeError, match="not finished") as caught:
            _ = model.astream(SOURCE).result
        assert isinstance(caught.value, t5g.T5gError)

    asyncio.run(run())
