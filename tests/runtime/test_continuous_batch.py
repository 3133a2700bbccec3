"""A batch that takes sources as it goes: the same tokens, in order, with bounded memory, whatever is wrong with one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g.batch import Batch, Item, Nothing

GOLDENS = Path(__file__).parents[1] / "goldens"
TEXTS = [f"text {'again ' * (7 * i % 5)}{i}" for i in range(23)]


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"temperature": 0.8, "seed": 5, "num_return_sequences": 2}],
    ids=["greedy", "beams", "samples"],
)
@pytest.mark.parametrize("max_batch_size", [1, 4, 64])
def test_sources_get_what_they_would_get_alone(
    options: dict[str, Any], max_batch_size: int, tiny_model: t5g.Model
) -> None:
    found = list(tiny_model.generate_iter(iter(TEXTS), max_batch_size=max_batch_size, max_new_tokens=7, **options))
    assert len(found) == len(TEXTS)
    for text, out in zip(TEXTS, found, strict=True):
        alone = tiny_model.generate(text, max_new_tokens=7, **options)
        assert [s.token_ids for s in out.sequences] == [s.token_ids for s in alone.sequences]
        assert out.logprob == alone.logprob


def test_sources_of_every_kind(tiny_model: t5g.Model) -> None:
    sources = ["a text", tiny_model.tokenizer.encode("a text"), tiny_model.encode("a text"), [], np.array([3, 4])]
    found = list(tiny_model.generate_iter(sources, max_new_tokens=5, decoder_prefix="so"))
    expected = [tiny_model.generate(source, max_new_tokens=5, decoder_prefix="so") for source in sources]
    assert [out.token_ids for out in found] == [out.token_ids for out in expected]
    assert list(tiny_model.generate_iter([])) == []


def test_a_source_is_asked_for_when_there_is_room(tiny_model: t5g.Model) -> None:
    asked = 0

    def sources() -> Iterator[str]:
        nonlocal asked
        for text in TEXTS:
            asked += 1
            yield text

    results = tiny_model.generate_iter(sources(), max_batch_size=2, max_new_tokens=4, min_new_tokens=4)
    assert asked == 0
    next(results)
    assert asked <= 4
    results.close()  # type: ignore[attr-defined]
    assert asked <= 4


def test_results_that_wait_for_an_earlier_one_are_bounded(tiny_model: t5g.Model) -> None:
    n_asked, n_given = 0, 0

    def next_item(wait: bool) -> Item | Nothing:
        nonlocal n_asked
        n_asked += 1
        assert n_asked - n_given <= 8 * 3
        if n_asked > 200:
            return Nothing.LEFT
        # A long first one, and many short ones: the prefix leaves room for one more token only.
        limit = tiny_model.config.decoder.max_position_embeddings
        return Item(n_asked, "text", decoder_prefix=[5] * (limit - (1 if n_asked > 1 else 60)))

    batch = Batch(tiny_model, max_batch_size=3, max_new_tokens=59, min_new_tokens=59)
    for key, _ in batch.results(next_item):
        n_given += 1
        assert key == n_given
    assert n_given == 200


def test_what_has_been_given_is_forgotten(tiny_model: t5g.Model) -> None:
    refs = []
    for i, out in enumerate(
        tiny_model.generate_iter((f"text {i}" for i in range(40)), max_batch_size=2, max_new_tokens=2)
    ):
        refs.append(weakref.ref(out))
        del out
        if i > 20:
            gc.collect()
            assert sum(ref() is not None for ref in refs[:-1]) == 0


def test_one_wrong_item_leaves_the_others(tiny_model: t5g.Model) -> None:
    sources: list[Any] = ["one", [10**6], 7, "two", "three"]
    items = iter([Item(i, source) for i, source in enumerate(sources)])
    batch = Batch(tiny_model, max_batch_size=2, max_new_tokens=3)
    results = list(batch.results(lambda wait: next(items, Nothing.LEFT)))
    assert [key for key, _ in results] == [0, 1, 2, 3, 4]
    assert isinstance(results[1][1], t5g.InvalidArgumentError)
    assert isinstance(results[2][1], TypeError)
    for i in (0, 3, 4):
        out = results[i][1]
        assert isinstance(out, t5g.Generation)
        assert out.token_ids == tiny_model.generate(sources[i], max_new_tokens=3).token_ids


def test_a_wrong_source_is_raised_in_its_turn_and_named(tiny_model: t5g.Model) -> None:
    results = tiny_model.generate_iter(["one", "two", [10**6], "three"], max_batch_size=8, max_new_tokens=3)
    assert next(results).token_ids == tiny_model.generate("one", max_new_tokens=3).token_ids
    next(results)
    with pytest.raises(t5g.InvalidArgumentError, match=r"sources\[2\]"):
        next(results)


def test_a_batch_goes_on_while_the_next_item_is_not_there_yet(tiny_model: t5g.Model) -> None:
    """Nothing is waited for while others run, and nothing is asked for while a result can be given."""
    calls: list[bool] = []
    given: list[Any] = []

    def next_item(wait: bool) -> Item | Nothing:
        calls.append(wait)
        if not wait:
            return Nothing.YET
        if len(given) == 3:
            return Nothing.LEFT
        assert len(given) == sum(calls) - 1
        return Item(len(given), f"text {len(given)}")

    for key, out in Batch(tiny_model, max_new_tokens=3).results(next_item):
        assert isinstance(out, t5g.Generation)
        given.append(key)
    assert given == [0, 1, 2]
    assert calls.count(False) >= 6


def test_arguments_are_checked_at_once(tiny_model: t5g.Model) -> None:
    for arguments, error in (
        ({"sources": "a text"}, TypeError),
        ({"sources": 5}, TypeError),
        ({"sources": [], "max_batch_size": 0}, ValueError),
        ({"sources": [], "max_new_tokens": 0}, ValueError),
        ({"sources": [], "stop": [""]}, ValueError),
        ({"sources": [], "images": 5}, TypeError),
        ({"sources": [], "do_sample": True}, TypeError),
    ):
        with pytest.raises(error):
            tiny_model.generate_iter(**arguments)  # type: ignore[arg-type]


def test_every_source_has_its_images() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with t5g.Model(GOLDENS / "v2-images.gguf") as model:
        texts, images = ["<start_of_image> a", "b"], [image, None]
        found = list(model.generate_iter(texts, images=images, max_new_tokens=3))
        expected = model.generate_batch(texts, images=images, max_new_tokens=3)
        assert [out.token_ids for out in found] == [out.token_ids for out in expected]
        for wrong in ([image], [image, None, None]):
            with pytest.raises(ValueError, match="images: there are"):
                list(model.generate_iter(texts, images=wrong, max_new_tokens=3))


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"temperature": 1.0, "seed": 1}], ids=str)
def test_special_tokens_may_stay_in_the_text(options: dict[str, Any], tiny_model: t5g.Model) -> None:
    ids = tiny_model.generate("some text", max_new_tokens=8, **options).token_ids
    out = tiny_model.generate("some text", max_new_tokens=8, skip_special_tokens=False, **options)
    assert out.token_ids == ids
    assert out.text == tiny_model.tokenizer.decode(ids, skip_special_tokens=False)
    with tiny_model.stream("some text", max_new_tokens=8, skip_special_tokens=False, **options) as stream:
        assert "".join(stream) == out.text


def test_an_end_token_is_a_special_token_of_the_text(tiny_model: t5g.Model) -> None:
    end = tiny_model.config.eos_token_id[0]
    spelt = tiny_model.tokenizer.decode([end], skip_special_tokens=False)
    assert spelt
    for seed in range(2000):
        out = tiny_model.generate("x", temperature=50.0, seed=seed, max_new_tokens=60, skip_special_tokens=False)
        if out.token_ids[-1] == end:
            assert out.text.endswith(spelt)
            return
    pytest.fail("no text ended")
