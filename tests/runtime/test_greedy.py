"""Greedy decoding, with few logits computed and many tokens drafted, finds what all logits choose."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import t5g

OPTIONS = [
    {},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},  # loves what it has said: long runs, good drafts
    {"no_repeat_ngram_size": 2},
    {"min_new_tokens": 25},
    {"repetition_penalty": 0.8, "no_repeat_ngram_size": 4, "min_new_tokens": 10},
]
SOURCES = [[2, *((37 * i) % 60 + 3 for i in range(70))], [2, 5, 6, 7, 5, 6, 7, 5, 6, 7], []]
N = 40


def chosen(
    model: t5g.Model, source: list[int], prefix: list[int], options: dict[str, float], text: list[int]
) -> list[int]:
    """What all logits make of each place of a text, given what it has before: the text itself, where that is right.

    A row of logits depends on the tokens before it alone, so that one call gives the rows of all places.
    """
    from support.testing_module import sampling

    config = sampling.GenerationConfig(max_new_tokens=N, eos_token_ids=list(model.config.eos_token_id), **options)
    ids = [model.config.decoder_start_token_id, *prefix]
    rows = model.logits(model.encode(source), [*ids, *text[:-1]])[len(prefix) :]
    sampler = sampling.Sampler(config, len(ids))
    found: list[int] = []
    for row, token in zip(rows, text, strict=True):
        found.append(sampler.next(row, ids)[0])
        ids.append(token)
    return found


def ends_where_it_must(model: t5g.Model, text: list[int]) -> bool:
    ends = [token in model.config.eos_token_id for token in text]
    return not any(ends[:-1]) and (ends[-1] or len(text) == N)


@pytest.fixture(scope="module")
def large_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose head is large enough to be searched."""
    pytest.importorskip("gguf")
    pytest.importorskip("sentencepiece")
    from support.folders import Folder, t5gemma2_config

    config = t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["hidden_size"], side["vocab_size"] = 128, 40000
    folder = tmp_path_factory.mktemp("large")
    t5g.convert(Folder.of(config).write(folder / "hf"), folder / "large.gguf", type="q8_0", vision=False)
    return folder / "large.gguf"


@pytest.fixture(scope="module")
def large_model(large_path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(large_path, n_threads=2) as model:
        yield model


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_drafts_change_nothing(tiny_model: t5g.Model, options: dict[str, float]) -> None:
    for source, prefix in itertools.product(SOURCES, ([], [9, 9, 9])):
        off, on = (
            tiny_model.generate(source, decoder_prefix=prefix, max_new_tokens=N, draft=draft, **options)
            for draft in ("off", "source")
        )
        assert off.token_ids == chosen(tiny_model, source, prefix, options, off.token_ids)
        assert ends_where_it_must(tiny_model, off.token_ids)
        assert on.token_ids == off.token_ids
        assert (on.logprob, on.text, on.finish_reason) == (off.logprob, off.text, off.finish_reason)
        assert on.timings.n_new_tokens == off.timings.n_new_tokens == len(off.token_ids)


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8_0"])
def test_wrong_drafts_leave_nothing_in_the_cache(tiny_path: Path, kv_type: Literal["f32", "f16", "q8_0"]) -> None:
    """Texts of several pages, in which every kind of draft is made and taken back."""
    with t5g.Model(tiny_path, kv_type=kv_type) as model:
        for penalty in (0.7, 1.2):
            options = {"max_new_tokens": 200, "min_new_tokens": 200, "repetition_penalty": penalty}
            off, on = (model.generate(SOURCES[0], draft=draft, **options) for draft in ("off", "source"))
            assert (on.token_ids, on.logprob) == (off.token_ids, off.logprob)


def test_drafts_stop_where_the_text_stops(tiny_model: t5g.Model) -> None:
    loving = {"repetition_penalty": 0.7, "min_new_tokens": 1}
    whole = tiny_model.generate(SOURCES[1], max_new_tokens=N, draft="off", **loving)
    for n in range(1, len(whole.token_ids) + 1):
        out = tiny_model.generate(SOURCES[1], max_new_tokens=n, **loving)
        assert out.token_ids == whole.token_ids[:n]
    for begin in range(0, len(whole.text) - 2, 3):
        stop = whole.text[begin : begin + 2]
        on, off = (
            tiny_model.generate(SOURCES[1], max_new_tokens=N, stop=stop, draft=draft, **loving)
            for draft in ("source", "off")
        )
        assert (on.text, on.token_ids, on.finish_reason, on.logprob) == (
            off.text,
            off.token_ids,
            off.finish_reason,
            off.logprob,
        )


def test_drafts_in_streams_and_batches(tiny_model: t5g.Model) -> None:
    options = {"max_new_tokens": N, "repetition_penalty": 0.7}
    alone = [tiny_model.generate(source, draft="off", **options) for source in SOURCES]
    for max_batch_size in (1, 2, 8):
        batch = tiny_model.generate_batch(SOURCES, max_batch_size=max_batch_size, **options)
        assert [(out.token_ids, out.logprob) for out in batch] == [(out.token_ids, out.logprob) for out in alone]
    for source, out in zip(SOURCES, alone, strict=True):
        stream = tiny_model.stream(source, **options)
        assert "".join(stream) == out.text
        assert stream.result.token_ids == out.token_ids


def test_a_stream_with_drafts_can_be_cancelled(tiny_model: t5g.Model) -> None:
    whole = tiny_model.generate(SOURCES[1], max_new_tokens=200, min_new_tokens=200, repetition_penalty=1.5)
    stream = tiny_model.stream(SOURCES[1], max_new_tokens=200, min_new_tokens=200, repetition_penalty=1.5)
    next(stream)
    stream.cancel()
    list(stream)
    assert stream.result.finish_reason == "cancelled"
    assert 0 < len(stream.result.token_ids) < 200
    assert stream.result.token_ids == whole.token_ids[: len(stream.result.token_ids)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("draft", ["off", "source"])
def test_a_searched_head_finds_the_tokens_of_all_logits(
    large_model: t5g.Model, options: dict[str, float], draft: str
) -> None:
    for source in SOURCES:
        out = large_model.generate(source, max_new_tokens=N, draft=draft, **options)
        assert out.token_ids == chosen(large_model, source, [], options, out.token_ids)
        assert ends_where_it_must(large_model, out.token_ids)
        assert out.logprob == large_model.score(source, out.token_ids).logprob


def test_a_searched_head_gives_the_same_for_any_threads_and_batch(large_path: Path, large_model: t5g.Model) -> None:
    expected = [large_model.generate(source, max_new_tokens=N) for source in SOURCES]
    with t5g.Model(large_path, n_threads=3) as model:
        alone = [model.generate(source, max_new_tokens=N, draft="off") for source in SOURCES]
        batch = model.generate_batch(SOURCES, max_new_tokens=N)
        for outs in (alone, batch):
            assert [(out.token_ids, out.logprob) for out in outs] == [(out.token_ids, out.logprob) for out in expected]
        logits = [m.logits(SOURCES[0], expected[0].token_ids) for m in (model, large_model)]
    np.testing.assert_array_equal(*logits)


def test_all_logits_are_the_same_for_any_number_of_rows(large_model: t5g.Model) -> None:
    ids = [2, *range(5, 40)]
    whole = large_model.logits(SOURCES[0], ids)
    for n in (1, 2, 3, 17):
        np.testing.assert_array_equal(large_model.logits(SOURCES[0], ids[:n]), whole[:n])


def test_a_log_probability_that_waits(large_path: Path) -> None:
    with t5g.Model(large_path) as model:
        outs = [model.generate(SOURCES[0], max_new_tokens=5, draft="off") for _ in range(4)]
        read, pickled, copied, unread = outs
        assert callable(vars(unread)["logprob"])  # otherwise this test is about nothing
        expected = model.score(SOURCES[0], unread.token_ids).logprob
        assert read.logprob == read.sequences[0].logprob == expected
        restored = pickle.loads(pickle.dumps(pickled))
        twin = copy.deepcopy(copied)
    assert restored.logprob == twin.logprob == pickled.logprob == expected
    assert (restored, twin) == (pickled, copied)
    assert "tokens" in repr(unread)
    with pytest.raises(ValueError, match="closed before it was asked for"):
        _ = unread.logprob
