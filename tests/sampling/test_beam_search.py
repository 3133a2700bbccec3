"""Beam search: the ids of Hugging Face's generate(), and what it promises beyond them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from support.testing_module import sampling
from support.toy_model import ToyModel, beam_search, equals_up_to_rounding
from t5g import _core

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))["cases"]


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def sum_logprobs(model, prompt, ids):
    return sum(log_softmax(model([*prompt, *ids[:i]]))[token] for i, token in enumerate(ids))


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: str(row["model"]["seed"]))
def test_ids_are_those_of_generate(row):
    model = ToyModel(**row["model"], eos=row["eos"])
    config = sampling.GenerationConfig(
        eos_token_ids=row["eos"], suppress_tokens=row["suppress"], **row["options"]
    )  # fmt: skip
    assert equals_up_to_rounding(row["sequences"], model, row["prompt"], config)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
def test_a_search_wide_enough_finds_the_best_of_all_texts(length_penalty):
    vocab_size, eos, longest = 4, 1, 4
    model = ToyModel(9, vocab_size, context=9, eos=[eos])
    config = sampling.GenerationConfig(
        num_beams=200, num_return_sequences=5, max_new_tokens=longest, length_penalty=length_penalty,
        early_stopping="never", eos_token_ids=[eos],
    )  # fmt: skip
    texts = {
        ids[: ids.index(eos) + 1] if eos in ids else ids
        for ids in itertools.product(range(vocab_size), repeat=longest)
    }  # fmt: skip
    best = sorted(texts, key=lambda ids: -sum_logprobs(model, [2], ids) / len(ids) ** length_penalty)[:5]
    assert [tuple(h.generated_ids) for h in beam_search(model, [2], config)] == best


def test_scores_are_of_processed_and_logprobs_of_plain_logits():
    model = ToyModel(5, 50, context=1, eos=[7])
    config = sampling.GenerationConfig(
        num_beams=4, num_return_sequences=4, max_new_tokens=10, repetition_penalty=0.5, length_penalty=1.0,
        eos_token_ids=[7],
    )  # fmt: skip
    for found in beam_search(model, [2, 9], config):
        ids = found.generated_ids
        assert found.logprob == pytest.approx(sum_logprobs(model, [2, 9], ids), abs=1e-4)
        assert found.score * len(ids) > found.logprob + 0.1  # repeated tokens were made more likely


def test_the_first_step_takes_one_row_and_the_others_one_per_beam():
    model = ToyModel(0, 40)
    search = sampling.BeamSearch(sampling.GenerationConfig(num_beams=3), [2, 17])
    (start,) = search.beams
    assert (start.parent, start.token, start.score, start.ids) == (0, 17, 0.0, [2, 17])
    search.advance(model([2, 17])[None])
    assert [beam.parent for beam in search.beams] == [0, 0, 0]
    assert [beam.token for beam in search.beams] == np.argsort(-model([2, 17]))[:3].tolist()
    with pytest.raises(_core.InvalidArgumentError, match="one row for each of the 3 beams"):
        search.advance(model([2])[None])


def test_parents_name_the_beam_whose_ids_were_continued():
    model = ToyModel(3, 40)
    search = sampling.BeamSearch(sampling.GenerationConfig(num_beams=5, max_new_tokens=9), [2])
    before = search.beams
    while not search.done:
        search.advance(np.stack([model(beam.ids) for beam in before]))
        for beam in search.beams:
            assert beam.ids == [*before[beam.parent].ids, beam.token]
        before = search.beams


def test_a_search_that_is_broken_off_returns_what_it_has():
    model = ToyModel(1, 40)
    config = sampling.GenerationConfig(num_beams=3, num_return_sequences=2)
    search = sampling.BeamSearch(config, [2])
    assert [(h.generated_ids, h.finished) for h in search.finalize()] == [([], False)]
    for _ in range(3):
        search.advance(np.stack([model(beam.ids) for beam in search.beams]))
    assert not search.done
    assert [(h.generated_ids, h.finished) for h in search.finalize()] == [(b.ids[1:], False) for b in search.beams[:2]]


def test_a_stop_test_ends_a_hypothesis_as_an_end_token_does():
    eos = 6
    plain = ToyModel(8, 40, eos=[eos], eos_bonus=2.0)
    options = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 15}
    by_eos = beam_search(plain, [2], sampling.GenerationConfig(eos_token_ids=[eos], **options))
    by_test = beam_search(plain, [2], sampling.GenerationConfig(**options), stop_test=lambda ids: ids[-1] == eos)
    assert any(len(h.generated_ids) < 15 for h in by_eos)
    assert [(h.generated_ids, h.score) for h in by_test] == [(h.generated_ids, h.score) for h in by_eos]


def test_a_mask_limits_the_search_to_the_texts_it_allows():
    texts = [[5, 6, 1], [5, 9, 1], [8, 1]]

    def allowed(generated):
        n = len(generated)
        return [text[n] for text in texts if text[:n] == generated and len(text) > n]

    model = ToyModel(2, 40)
    config = sampling.GenerationConfig(num_beams=4, num_return_sequences=4, eos_token_ids=[1], early_stopping="never")
    found = beam_search(model, [2], config, allowed=allowed)
    assert sorted(h.generated_ids for h in found) == texts
    for h in found:
        assert h.logprob == pytest.approx(sum_logprobs(model, [2], h.generated_ids), abs=1e-4)
        assert h.score == pytest.approx(h.logprob / len(h.generated_ids), rel=1e-5)


def test_a_mask_that_allows_nothing_is_an_error():
    search = sampling.BeamSearch(sampling.GenerationConfig(num_beams=2), [2], allowed=lambda _: [])
    with pytest.raises(_core.T5gError, match="every token is banned"):
        search.advance(np.zeros((1, 5), np.float32))


def test_equal_scores_go_to_the_lower_beam_and_id():
    search = sampling.BeamSearch(sampling.GenerationConfig(num_beams=3), [2])
    search.advance(np.zeros((1, 1000), np.float32))
    assert [beam.token for beam in search.beams] == [0, 1, 2]
    search.advance(np.zeros((3, 1000), np.float32))
    assert [(beam.parent, beam.token) for beam in search.beams] == [(0, 0), (0, 1), (0, 2)]


def test_an_empty_prompt_is_refused():
    with pytest.raises(_core.InvalidArgumentError, match="prompt_ids"):
        sampling.BeamSearch(sampling.GenerationConfig(num_beams=2), [])


def test_the_best_of_a_large_vocabulary_are_found():
    logits = np.random.default_rng(1).normal(size=262_144).astype(np.float32)
    search = sampling.BeamSearch(sampling.GenerationConfig(num_beams=16), [2])
    search.advance(logits[None])
    assert [beam.token for beam in search.beams] == np.argsort(-logits)[:16].tolist()
