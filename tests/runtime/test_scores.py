"""score_batch and attention through the model's own methods."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import t5g

SOURCES = [[5, 9, 200, 31], [7], [], [5, 9, 200, 31, 8, 11, 12], [6, 6, 6]]
TARGETS = [[5, 6, 7], [9] * 40, [8], [], [11, 12, 13, 14, 15, 16, 17]]


def test_a_batch_of_scores_has_the_bits_of_each(tiny_model: t5g.Model) -> None:
    for size in (1, 2, 32):
        found = tiny_model.score_batch(SOURCES, TARGETS, max_batch_size=size)
        for score, source, target in zip(found, SOURCES, TARGETS, strict=True):
            alone = tiny_model.score(source, target)
            np.testing.assert_array_equal(score.token_logprobs, alone.token_logprobs)
            assert (score.logprob, score.token_ids) == (alone.logprob, target)


def test_scores_are_compared_by_what_they_say(tiny_model: t5g.Model) -> None:
    one, same, other = (tiny_model.score(SOURCES[0], target) for target in ([5, 6], [5, 6], [5, 7]))
    assert one == same
    assert one != other
    assert one != [5, 6]


def test_many_targets_of_one_source(tiny_model: t5g.Model) -> None:
    source = tiny_model.encode(SOURCES[0])
    texts = ["a", "b", "a text"]
    for score, text in zip(tiny_model.score_batch([source] * 3, texts, add_eos=True), texts, strict=True):
        assert score.logprob == tiny_model.score(source, text, add_eos=True).logprob
    assert tiny_model.score_batch([], []) == []


def test_what_is_wrong_with_a_batch_is_named(tiny_model: t5g.Model) -> None:
    with pytest.raises(t5g.InvalidArgumentError, match="targets: must be as many as sources, 2, got 1"):
        tiny_model.score_batch([[5], [6]], [[7]])
    with pytest.raises(t5g.InvalidArgumentError, match=r"targets\[1\]: token 0 is 1000000"):
        tiny_model.score_batch([[5], [6]], [[7], [10**6]])
    with pytest.raises(t5g.ArgumentTypeError, match="targets: must be a list"):
        tiny_model.score_batch([[5]], "text")


def test_attention_is_the_sources_part_of_the_weights(tiny_model: t5g.Model) -> None:
    source, target = SOURCES[3], [8, 5, 5, 9, 11, 12]
    found = tiny_model.attention(source, target)
    assert (found.shape, found.dtype) == ((6, 7), np.float32)
    assert (found >= 0).all()
    sums = found.sum(axis=1)
    if tiny_model.config.architecture == "t5gemma":
        np.testing.assert_allclose(sums, 1, atol=1e-5)
    else:
        assert (sums < 1).all()
        assert (sums > 0).all()
    # A token sees those before it alone.
    np.testing.assert_array_equal(tiny_model.attention(source, target[:3]), found[:3])
    assert tiny_model.attention(source, []).shape == (0, 7)
    assert tiny_model.attention([], target).shape == (6, 0)


def test_results_have_it_where_it_is_asked_for(tiny_model: t5g.Model) -> None:
    source, prefix = SOURCES[3], [8, 5]
    for options in ({}, {"num_beams": 3, "num_return_sequences": 2}, {"temperature": 1.0, "seed": 1}):
        out = tiny_model.generate(source, decoder_prefix=prefix, max_new_tokens=4, return_attention=True, **options)
        for sequence in out.sequences:
            expected = tiny_model.attention(source, [*prefix, *sequence.token_ids])[len(prefix) :]
            np.testing.assert_array_equal(sequence.attention, expected)
    assert tiny_model.generate(source, max_new_tokens=2).attention is None
    outs = tiny_model.generate_batch([source, SOURCES[0]], max_new_tokens=3, return_attention=True)
    for out, of in zip(outs, (source, SOURCES[0]), strict=True):
        np.testing.assert_array_equal(out.attention, tiny_model.attention(of, out.token_ids))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(out)).attention, out.attention)
    with tiny_model.stream(source, max_new_tokens=3, return_attention=True) as stream:
        list(stream)
    np.testing.assert_array_equal(stream.result.attention, outs[0].attention)


def test_attention_can_be_interrupted_and_needs_an_open_model(tiny_path: object) -> None:
    with t5g.Model(tiny_path) as model:  # type: ignore[arg-type]
        out = model.generate(SOURCES[3], max_new_tokens=2, return_attention=True)
    with pytest.raises(ValueError, match="closed"):
        _ = out.attention
