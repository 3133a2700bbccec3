"""The shared batch from outside: queues, deadlines, clients that hang up, long sources beside short ones, the end."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import t5g
from support.serving import Answer, Running, running, wait_until

# Takes as many steps as there may be.
LONG = {"prompt": "a tool", "max_tokens": 100_000, "min_new_tokens": 100_000, "draft": "off"}
JSON = {"Content-Type": "application/json"}


# So that a long text takes ten seconds and more.
pytestmark = pytest.mark.usefixtures("slow_steps")


def hang_up_after_an_event(server: Running, body: dict[str, Any]) -> None:
    """Read the first event of a stream, and close the connection."""
    connection = server.connect()
    connection.request("POST", "/v1/completions", json.dumps(body | {"stream": True}).encode(), JSON)
    response = connection.getresponse()
    assert response.readline().startswith(b"data: ")
    response.close()
    connection.close()


def test_a_client_that_hangs_up_stops_the_work(server: Running) -> None:
    hang_up_after_an_event(server, LONG)
    server.wait_until("t5g_running", 0)
    # The same without events: nothing has been sent when it goes.
    connection = server.connect()
    connection.request("POST", "/v1/completions", json.dumps(LONG).encode(), JSON)
    server.wait_until("t5g_running", 1)
    connection.close()
    server.wait_until("t5g_running", 0)


def test_a_deadline(server: Running) -> None:
    answer = server.post("/v1/completions", LONG | {"timeout": 0.3})
    assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
    content = server.post("/v1/completions", LONG | {"timeout": 0.3, "stream": True}).content.decode()
    *events, error, done, _ = content.split("\n\n")
    assert len(events) > 1
    assert json.loads(error[6:])["error"]["code"] == "deadline_exceeded"
    assert done == "data: [DONE]"
    server.wait_until("t5g_running", 0)


def test_a_full_queue_refuses_and_says_when_to_come_back(model: t5g.Model) -> None:
    with running(model, max_batch_size=2, max_queue=1) as server, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(server.post, "/v1/completions", LONG | {"timeout": 2.0}) for _ in range(3)]
        wait_until(lambda: server.gauge("t5g_running") + server.gauge("t5g_waiting") == 3)
        answer = server.post("/v1/completions", {"prompt": "a"})
        assert (answer.status, answer.error["code"]) == (429, "queue_full")
        assert answer.error["type"] == "rate_limit_error"
        assert int(answer.headers["retry-after"]) >= 1
        assert server.post("/v1/completions", {"prompt": ["a"] * 4}).status == 400
        assert server.post("/v1/embeddings", {"input": "a"}).status == 429
        assert {future.result().status for future in waiting} == {504}
        server.wait_until("t5g_waiting", 0)
        server.wait_until("t5g_running", 0)
        assert server.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_what_waits_gets_its_turn_when_others_leave(model: t5g.Model) -> None:
    with running(model, max_batch_size=1) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(hang_up_after_an_event, server, LONG)
        first.result()
        second = server.post("/v1/completions", {"prompt": "a tool", "max_tokens": 3})
        assert second.json["choices"][0]["text"] == model.generate("a tool", max_new_tokens=3).text


def test_running_texts_go_on_beside_a_long_source(model: t5g.Model) -> None:
    """Between the beginning and the end of reading a long source, many events of another text arrive."""
    long = [5 + i % 900 for i in range(min(6000, model.config.encoder.max_position_embeddings))]
    with running(model) as server, ThreadPoolExecutor(2) as pool:
        connection = server.connect()
        connection.request("POST", "/v1/completions", json.dumps(LONG | {"stream": True}).encode(), JSON)
        response = connection.getresponse()
        response.readline()
        reading = pool.submit(server.post, "/v1/sources", {"input": long})
        n_events = 0
        while not reading.done():
            n_events += response.readline().startswith(b"data: ")
        assert reading.result().status == 200
        assert n_events > 5
        connection.close()


def test_short_sources_do_not_wait_for_long_ones(model: t5g.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        """A model whose long sources take until they are told to go on."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model._core, name)

        def encode(self, ids: list[int], *more: Any, **options: Any) -> Any:
            if len(ids) > 100:
                begun.set()
                go_on.wait(60)
            return model._core.encode(ids, *more, **options)

    monkeypatch.setattr("t5g.server.readers.SHORT", 100)
    with running(model) as server, ThreadPoolExecutor(2) as pool:
        engine = server.server.engine
        slow = Slow()
        monkeypatch.setattr(type(model), "_native", property(lambda self: slow))
        monkeypatch.setattr(engine.batch, "_model", _Native(model))
        long = pool.submit(server.post, "/v1/sources", {"input": [5] * 200})
        assert begun.wait(60)
        assert server.post("/v1/completions", {"prompt": "a tool", "max_tokens": 2}).status == 200
        assert not long.done()
        go_on.set()
        assert long.result().status == 200


class _Native:
    """A model as the batch sees it, with its own native object."""

    def __init__(self, model: t5g.Model) -> None:
        self._native = model._core
        self._core = model._core
        self.load_seconds = model.load_seconds


def test_a_batch_that_fails_tells_everybody_and_begins_anew(model: t5g.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(model) as server, ThreadPoolExecutor(1) as pool:
        batch = server.server.engine.batch
        answer = pool.submit(server.post, "/v1/completions", LONG)
        server.wait_until("t5g_running", 1)

        class Failing:
            def __init__(self, generator: Any) -> None:
                self._generator = generator

            def __getattr__(self, name: str) -> Any:
                return getattr(self._generator, name)

            def step(self) -> bool:
                raise MemoryError

        monkeypatch.setattr(batch, "_generator", Failing(batch._generator))
        assert (answer.result().status, answer.result().error["code"]) == (503, "out_of_memory")
        alone = model.generate("a tool", max_new_tokens=3)
        again = server.post("/v1/completions", {"prompt": "a tool", "max_tokens": 3})
        assert again.json["choices"][0]["text"] == alone.text


def test_requests_end_before_the_server_does(model: t5g.Model) -> None:
    answers: list[Answer] = []
    with running(model) as server:
        body = {"prompt": "a tool", "max_tokens": 150, "min_new_tokens": 150}
        thread = threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body)))
        thread.start()
        server.wait_until("t5g_running", 1)
        server.server.engine.drain()
        assert server.get("/health").status == 503
        refused = server.post("/v1/completions", body)
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
    thread.join()
    assert answers[0].json["usage"]["completion_tokens"] == 150


def test_requests_that_take_too_long_are_told(model: t5g.Model) -> None:
    with running(model) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/v1/completions", LONG)
        server.wait_until("t5g_running", 1)
        loop = next(iter(server.server.engine._calls))._inbox.loop
        loop.call_soon_threadsafe(server.server.engine.stop_all)
        assert (answer.result().status, answer.result().error["code"]) == (503, "shutting_down")


def test_the_threads_end_with_the_server(model: t5g.Model) -> None:
    with running(model) as server:
        server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
    end = time.monotonic() + 30
    while (left := [t.name for t in threading.enumerate() if t.name in ("t5g-reader", "t5g-batch")]) and len(left) > 3:
        assert time.monotonic() < end, left
        time.sleep(0.05)
