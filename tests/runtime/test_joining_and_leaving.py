"""Sources that join and leave a running batch, each with its own options; and long passes that let short ones in."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import t5g
from t5g import _core
from t5g import options as generation_options

OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 3, "num_return_sequences": 2},
    {"num_beams": 3},
    {"repetition_penalty": 1.3, "max_new_tokens": 4},
    {"temperature": 1.2, "seed": 4, "top_k": 5, "min_new_tokens": 9},
]


def make_generator(model: t5g.Model, rows: int = 8) -> _core.Generator:
    """Make a generator without any requests."""
    config = generation_options.config({}, model)
    return _core.Generator(model._native, [], [], _core.TextOptions([], True), rows, config)


def add(
    generator: _core.Generator,
    model: t5g.Model,
    text: str,
    options: dict[str, Any],
    stop: list[str] | None = None,
    streams: bool = False,
) -> int:
    """Add a text with options of its own."""
    config = generation_options.config({"max_new_tokens": 9} | options, model)
    request = model.tokenizer.encode(text), [], None
    return generator.add(request, [], config, _core.TextOptions(stop or [], True), streams)


def run(generator: _core.Generator) -> dict[int, Any]:
    """Run to the last."""
    while generator.step():
        pass
    return dict(generator.take_finished())


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_each_has_its_own_options_and_what_it_would_get_alone(rows: int, tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model, rows)
    for i, options in enumerate(OPTIONS * 2):
        assert add(generator, tiny_model, f"text {i}", options) == i
        generator.step()
    results = run(generator)
    for i, options in enumerate(OPTIONS * 2):
        alone = tiny_model.generate(f"text {i}", **({"max_new_tokens": 9} | options))
        assert [s["token_ids"] for s in results[i]["sequences"]] == [s.token_ids for s in alone.sequences]
        assert [s["text"] for s in results[i]["sequences"]] == [s.text for s in alone.sequences]


def test_each_has_its_own_stop_strings(tiny_model: t5g.Model) -> None:
    plain = tiny_model.generate("a text", max_new_tokens=9, min_new_tokens=9)
    stop = plain.text[3:5]
    generator = make_generator(tiny_model)
    add(generator, tiny_model, "a text", {"min_new_tokens": 9})
    add(generator, tiny_model, "a text", {"min_new_tokens": 9}, stop=[stop])
    results = run(generator)
    assert results[0]["sequences"][0]["text"] == plain.text
    assert results[1]["sequences"][0]["text"] == plain.text[: plain.text.index(stop)]


def test_wrong_options_are_refused_alone(tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model)
    add(generator, tiny_model, "a text", {})
    with pytest.raises(t5g.InvalidArgumentError, match="stop"):
        add(generator, tiny_model, "a text", {}, stop=[""])
    assert run(generator)[0]["sequences"][0]["token_ids"] == tiny_model.generate("a text", max_new_tokens=9).token_ids


@pytest.mark.parametrize("options", OPTIONS)
def test_fresh_texts_add_up_to_the_text(options: dict[str, Any], tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model)
    add(generator, tiny_model, "not this one", {})
    number = add(generator, tiny_model, "some text", options, streams=True)
    texts: dict[int, str] = {}
    more = True
    while more:
        more = generator.step()
        for of, sequence, text, _ in generator.take_texts():
            assert of == number
            texts[sequence] = texts.get(sequence, "") + text
    for i, sequence in enumerate(dict(generator.take_finished())[number]["sequences"]):
        assert sequence["text"].startswith(texts.get(i, ""))
        if "num_beams" not in options:
            assert len(sequence["text"]) - len(texts.get(i, "")) < 40  # held back until the end


def test_texts_that_nobody_takes_grow(tiny_model: t5g.Model) -> None:
    """One text of each sequence, however many steps there were; that of one which has ended is there too."""
    generator = make_generator(tiny_model)
    options = {"min_new_tokens": 9, "temperature": 1.0, "seed": 3, "num_return_sequences": 2}
    ended = add(generator, tiny_model, "a text", {"max_new_tokens": 2}, streams=True)
    number = add(generator, tiny_model, "some text", options, streams=True)
    for _ in range(6):
        generator.step()
    texts = generator.take_texts()
    assert generator.take_texts() == []
    places = [(of, sequence) for of, sequence, _, _ in texts]
    assert len({*places}) == len(places) > 1
    assert {*places} <= {(ended, 0), (number, 0), (number, 1)}
    results = run(generator)
    for of, sequence, text, _ in texts:
        assert results[of]["sequences"][sequence]["text"].startswith(text)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3, "num_return_sequences": 2}])
def test_fresh_tokens_are_those_of_the_result(options: dict[str, Any], tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model)
    number = add(generator, tiny_model, "some text", options | {"logprobs": 2}, streams=True)
    without = add(generator, tiny_model, "some text", options, streams=True)
    found: dict[int, list[Any]] = {}
    more = True
    while more:
        more = generator.step()
        for of, sequence, _, tokens in generator.take_texts():
            assert (of == number) or (of, tokens) == (without, [])
            found.setdefault(sequence, []).extend(tokens)
    for i, sequence in enumerate(dict(generator.take_finished())[number]["sequences"]):
        result = [*zip(sequence["token_ids"], sequence["token_logprobs"], sequence["top_logprobs"], strict=True)]
        assert result[: len(found[i])] == found[i] != []


def test_one_that_leaves_changes_nothing_for_the_others(tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model, 2)
    for i in range(4):
        add(generator, tiny_model, f"text {i}", {"min_new_tokens": 9})
    generator.step()
    generator.cancel_one(1)  # it runs
    generator.cancel_one(2)  # it waits
    generator.cancel_one(77)  # there is none
    results = run(generator)
    for i in (0, 3):
        alone = tiny_model.generate(f"text {i}", max_new_tokens=9, min_new_tokens=9)
        assert results[i]["sequences"][0]["token_ids"] == alone.token_ids
    running, waiting = results[1]["sequences"][0], results[2]["sequences"][0]
    assert running["finish_reason"] == waiting["finish_reason"] == "cancelled"
    assert (len(running["token_ids"]), waiting["token_ids"]) == (1, [])
    generator.cancel_one(0)
    assert generator.take_finished() == []


def test_when_all_have_left_new_ones_may_come(tiny_model: t5g.Model) -> None:
    generator = make_generator(tiny_model)
    number = add(generator, tiny_model, "a text", {})
    generator.cancel_one(number)
    assert not generator.step()
    number = add(generator, tiny_model, "a text", {})
    alone = tiny_model.generate("a text", max_new_tokens=9)
    assert run(generator)[number]["sequences"][0]["token_ids"] == alone.token_ids


# ---- Giving way ----


def test_steps_go_on_beside_a_long_source_and_both_stay_what_they_are() -> None:
    """The lease is given in the order of asking: a pass that gives way between blocks lets a step in after each."""
    with t5g.Model() as model:
        ids = [5 + i % 900 for i in range(min(4000, model.config.encoder.max_position_embeddings))]
        expected = model.encode(ids).hidden_states
        options = {"max_new_tokens": 200, "min_new_tokens": 200}
        alone = model.generate("A short text.", **options)
        generator = make_generator(model)
        add(generator, model, "A short text.", options)
        generator.step()
        found: list[Any] = []
        encoding = threading.Thread(target=lambda: found.append(model._native.encode(ids)))
        encoding.start()
        n_steps, more = 0, True
        while more:
            more = generator.step()
            n_steps += encoding.is_alive()
        encoding.join()
        assert n_steps > 5
        np.testing.assert_array_equal(found[0].hidden_states, expected)
        assert dict(generator.take_finished())[0]["sequences"][0]["token_ids"] == alone.token_ids


def test_two_threads_that_encode_the_same_source_for_the_decoder(tiny_model: t5g.Model) -> None:
    ids = [5 + i % 50 for i in range(min(600, tiny_model.config.encoder.max_position_embeddings))]
    expected = tiny_model.generate(ids, max_new_tokens=5).token_ids
    for _ in range(3):
        source = tiny_model.encode(ids)
        threads = [threading.Thread(target=tiny_model._native.prepare, args=(source._core,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert tiny_model.generate(source, max_new_tokens=5).token_ids == expected


def test_a_flag_stops_reading(tiny_model: t5g.Model) -> None:
    stop = _core.StopFlag()
    source = tiny_model._native.encode([5, 6, 7], stop=stop)
    assert source is not None
    assert tiny_model._native.prepare(source, stop)
    stop.set()
    assert stop.is_set
    assert tiny_model._native.encode([5, 6, 8], stop=stop) is None
    assert not tiny_model._native.prepare(tiny_model.encode([5, 6, 9])._core, stop)
    assert tiny_model._native.encode([5, 6, 8]) is not None
