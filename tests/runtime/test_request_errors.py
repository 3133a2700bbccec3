"""An error of one request of a generator, and functions that use the model while it asks them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import t5g
from t5g import _core
from t5g import options as generation_options


class Trouble(Exception):
    pass


def fail_later(ids: list[int]) -> list[int]:
    if len(ids) > 1:
        raise Trouble("here")
    return [20, 21, 22]


FAILING = [
    ({"allowed_tokens": lambda _: []}, t5g.T5gError, "every token is banned"),
    ({"allowed_tokens": fail_later}, Trouble, "here"),
    ({"allowed_tokens": fail_later, "num_beams": 2}, Trouble, "here"),
    ({"choices": ["a"], "min_new_tokens": 9}, t5g.T5gError, "every token is banned"),
]


@pytest.mark.parametrize(("options", "error", "words"), FAILING, ids=range(len(FAILING)))
def test_it_ends_its_request_alone_where_errors_are_kept(
    tiny_model: t5g.Model, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    plain = {"max_new_tokens": 9}
    config = generation_options.config(plain, tiny_model)
    text = _core.TextOptions([], True)
    generator = _core.Generator(tiny_model._native, [], [], text, 8, config)
    generator.keep_errors()
    sources = [[5, 6], [7, 8, 9], [10]]
    wrong = generation_options.config(plain | options, tiny_model)
    for i, ids in enumerate(sources):
        generator.add((ids, [], None), [], wrong if i == 1 else config, text)
    while generator.step():
        pass
    found = dict(generator.take_finished())
    with pytest.raises(error, match=words):
        found[1].throw()
    for i in (0, 2):
        alone = tiny_model.generate(sources[i], **plain)
        assert found[i]["sequences"][0]["token_ids"] == alone.token_ids
    # ... and the generator takes new ones.
    generator.add(([5, 6], [], None), [], config, text)
    while generator.step():
        pass
    assert dict(generator.take_finished())[3]["sequences"][0]["token_ids"] == found[0]["sequences"][0]["token_ids"]


@pytest.mark.parametrize(("options", "error", "words"), FAILING, ids=range(len(FAILING)))
def test_it_ends_a_call_at_once(
    tiny_model: t5g.Model, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    for call in (
        lambda: tiny_model.generate([5, 6], max_new_tokens=9, **options),
        lambda: tiny_model.generate_batch([[5, 6], [7]], max_new_tokens=9, **options),
        lambda: list(tiny_model.generate_iter([[5, 6], [7]], max_new_tokens=9, **options)),
        lambda: list(tiny_model.stream([5, 6], max_new_tokens=9, **options)),
    ):
        with pytest.raises(error, match=words):
            call()


def run_with_a_limit(body: Any) -> None:
    """Fail instead of waiting for ever."""
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for itself"


def test_a_function_may_do_anything_with_the_model(tiny_path: Path) -> None:
    with t5g.Model(tiny_path) as model:
        source = model.encode([5, 6, 7])

        def busy(ids: list[int]) -> None:
            model.score(source, [5, 6])
            model.encode([8, 9])
            others = [threading.Thread(target=model.generate, args=(source,), kwargs={"max_new_tokens": 2})]
            for thread in others:
                thread.start()
            for thread in others:
                thread.join()

        def run() -> None:
            found.append(model.generate(source, max_new_tokens=3, allowed_tokens=busy).token_ids)

        found: list[list[int]] = []
        run_with_a_limit(run)
        assert found == [model.generate(source, max_new_tokens=3).token_ids]


def test_a_function_may_stop_its_own_stream(tiny_model: t5g.Model) -> None:
    stopped: list[t5g.Generation] = []

    def run() -> None:
        def stop(ids: list[int]) -> None:
            if len(ids) == 2:
                stream.cancel()

        stream = tiny_model.stream([5, 6], max_new_tokens=50, min_new_tokens=50, allowed_tokens=stop)
        for _ in stream:
            pass
        stopped.append(stream.result)

    run_with_a_limit(run)
    assert stopped[0].finish_reason == "cancelled"
    assert len(stopped[0].token_ids) <= 3


def test_a_function_that_reads_its_own_stream_or_closes_the_model_is_told_so(tiny_path: Path) -> None:
    def run() -> None:
        with t5g.Model(tiny_path) as model:
            stream = model.stream([5, 6], max_new_tokens=5, allowed_tokens=lambda _: next(stream))
            with pytest.raises(t5g.InvalidArgumentError, match="the stream"):
                list(stream)
            with pytest.raises(ValueError, match="closed"):
                model.generate([5, 6], max_new_tokens=5, allowed_tokens=lambda _: model.close())
            seen.append(True)

    seen: list[bool] = []
    run_with_a_limit(run)
    assert seen
