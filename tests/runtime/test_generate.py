"""Generation as a user meets it: the same tokens however they are asked for, and every way in which it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import t5g
from t5g import _core

SOURCES = [[5, 9, 200, 31], [7], [300, 2, 2, 8, 9, 10, 77, 150], []]
N = 12


def test_streamed_pieces_are_the_generated_text(tiny_model: t5g.Model) -> None:
    out = tiny_model.generate(SOURCES[0], max_new_tokens=N)
    stream = tiny_model.stream(SOURCES[0], max_new_tokens=N)
    pieces = list(stream)
    assert "".join(pieces) == out.text
    assert stream.result.token_ids == out.token_ids
    assert all(pieces)


def test_streamed_beam_search_gives_its_text_in_one_piece(tiny_model: t5g.Model) -> None:
    out = tiny_model.generate(SOURCES[0], max_new_tokens=N, num_beams=3)
    assert list(tiny_model.stream(SOURCES[0], max_new_tokens=N, num_beams=3)) == [out.text]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"temperature": 0.8, "seed": 5}], ids=str)
@pytest.mark.parametrize("max_batch_size", [1, 3, 32])
def test_a_batch_gives_what_each_gives_alone(
    tiny_model: t5g.Model, options: dict[str, object], max_batch_size: int
) -> None:
    alone = [tiny_model.generate(source, max_new_tokens=N, **options) for source in SOURCES]
    batch = tiny_model.generate_batch(SOURCES, max_new_tokens=N, max_batch_size=max_batch_size, **options)
    assert [out.token_ids for out in batch] == [out.token_ids for out in alone]
    assert [out.logprob for out in batch] == [out.logprob for out in alone]
    assert [out.text for out in batch] == [out.text for out in alone]


def test_an_empty_batch(tiny_model: t5g.Model) -> None:
    assert tiny_model.generate_batch([]) == []


def test_the_log_probability_is_the_score_of_the_tokens(tiny_model: t5g.Model) -> None:
    out = tiny_model.generate(SOURCES[0], max_new_tokens=N, temperature=1.0, repetition_penalty=1.3, seed=1)
    score = tiny_model.score(SOURCES[0], out.token_ids)
    assert score.token_logprobs.shape == (len(out.token_ids),)
    assert score.token_ids == out.token_ids
    assert score.logprob == pytest.approx(out.logprob, abs=1e-5)


def test_scores_are_log_softmax_of_logits(tiny_model: t5g.Model) -> None:
    target = [4, 70, 8, 90]
    start = tiny_model.config.decoder_start_token_id
    logits = tiny_model.logits(SOURCES[2], [start, *target[:-1]]).astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    expected = (logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))[range(4), target]
    np.testing.assert_allclose(tiny_model.score(SOURCES[2], target).token_logprobs, expected, atol=1e-5)


def test_scoring_the_end_token_too(tiny_model: t5g.Model) -> None:
    eos = tiny_model.config.eos_token_id[0]
    assert tiny_model.score(SOURCES[0], [5, 6], add_eos=True).token_ids == [5, 6, eos]
    assert tiny_model.score(SOURCES[0], []).token_logprobs.shape == (0,)


def test_the_decoder_prefix_is_continued_and_not_returned(tiny_model: t5g.Model) -> None:
    whole = tiny_model.generate(SOURCES[0], max_new_tokens=N, min_new_tokens=N).token_ids
    start = tiny_model.config.decoder_start_token_id
    for prefix in (whole[:5], [start, *whole[:5]]):
        out = tiny_model.generate(SOURCES[0], decoder_prefix=prefix, max_new_tokens=N - 5, min_new_tokens=N - 5)
        assert out.token_ids == whole[5:]


def test_a_prefix_longer_than_a_block(tiny_model: t5g.Model) -> None:
    """Prompts run in blocks of rows; the answer must be what one token after the other gives."""
    prefix = [(7 * i) % 250 + 10 for i in range(300)]
    expected = tiny_model.logits(SOURCES[0], [tiny_model.config.decoder_start_token_id, *prefix])[-1]
    out = tiny_model.generate(SOURCES[0], decoder_prefix=prefix, max_new_tokens=1)
    assert out.token_ids == [int(expected.argmax())]


def test_stop_strings_end_the_text_before_them(tiny_model: t5g.Model) -> None:
    text = tiny_model.generate(SOURCES[0], max_new_tokens=40, min_new_tokens=40).text
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    out = tiny_model.generate(SOURCES[0], max_new_tokens=40, min_new_tokens=40, stop=stop)
    assert out.text == text[: text.index(stop)]
    assert out.finish_reason == "stop"
    assert "".join(tiny_model.stream(SOURCES[0], max_new_tokens=40, min_new_tokens=40, stop=[stop])) == out.text


def test_finish_reasons(tiny_model: t5g.Model) -> None:
    assert tiny_model.generate(SOURCES[0], max_new_tokens=3, min_new_tokens=3).finish_reason == "length"
    stream = tiny_model.stream(SOURCES[0], max_new_tokens=200, min_new_tokens=200, repetition_penalty=1.5)
    next(stream)
    stream.cancel()
    rest = list(stream)
    result = stream.result
    assert result.finish_reason == "cancelled"
    assert 0 < len(result.token_ids) < 200
    assert result.text.endswith("".join(rest))


def test_closing_a_stream_early(tiny_model: t5g.Model) -> None:
    with tiny_model.stream(SOURCES[0], max_new_tokens=50, min_new_tokens=50, repetition_penalty=1.5) as stream:
        with pytest.raises(RuntimeError, match="not finished") as caught:
            _ = stream.result
        assert isinstance(caught.value, t5g.T5gError)
        next(stream)
    assert stream.result.finish_reason == "cancelled"
    assert list(stream) == []
    stream.close()


def test_several_sequences(tiny_model: t5g.Model) -> None:
    beams = tiny_model.generate(SOURCES[0], max_new_tokens=N, num_beams=4, num_return_sequences=3)
    assert len(beams.sequences) == 3
    assert beams.sequences[0].token_ids == beams.token_ids
    samples = tiny_model.generate(SOURCES[0], max_new_tokens=N, temperature=1.5, seed=3, num_return_sequences=5)
    assert len({tuple(sequence.token_ids) for sequence in samples.sequences}) > 1


def test_seeds(tiny_model: t5g.Model) -> None:
    def sample(seed: int | None) -> list[int]:
        return tiny_model.generate(SOURCES[0], max_new_tokens=20, temperature=2.0, seed=seed).token_ids

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert sample(None) != sample(None)


def test_timings_count_tokens(tiny_model: t5g.Model) -> None:
    t = tiny_model.generate(SOURCES[2], max_new_tokens=6, min_new_tokens=6).timings
    assert (t.n_source_tokens, t.n_new_tokens) == (len(SOURCES[2]), 6)
    assert min(t.load_seconds, t.encode_seconds, t.decode_seconds) > 0
    assert t.decode_tokens_per_second == pytest.approx(6 / t.decode_seconds)


def test_generation_stops_at_the_models_limit(tiny_model: t5g.Model) -> None:
    limit = tiny_model.config.decoder.max_position_embeddings
    prefix = [9] * (limit - 3)
    out = tiny_model.generate(SOURCES[0], decoder_prefix=prefix, max_new_tokens=50, min_new_tokens=50)
    assert len(out.token_ids) == 3
    assert out.finish_reason == "length"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": -1.0}, ValueError, "temperature"),
        ({"top_p": float("nan")}, ValueError, "top_p"),
        ({"num_beams": 0}, ValueError, "num_beams"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens"),
        ({"num_return_sequences": 2}, ValueError, "num_return_sequences"),
        ({"tempreature": 1.0}, TypeError, "tempreature"),
        ({"top_k": "many"}, TypeError, "top_k"),
        ({"stop": [""]}, ValueError, "stop"),
        ({"images": ["a.png"]}, t5g.UnsupportedError, "images"),
        ({"decoder_prefix": [100000]}, ValueError, "decoder_prefix: token 0 is 100000, outside"),
    ],
    ids=str,
)
def test_wrong_options(tiny_model: t5g.Model, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny_model.generate(SOURCES[0], **options)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([1, -1], ValueError, "source: token 1 is -1"),
        ([1 << 40], ValueError, "outside the model's vocabulary"),
        ([1.5], TypeError, "must be integers"),
        ([True], TypeError, "must be integers"),
        (["a"], TypeError, "must be integers"),
        (5, TypeError, "token ids"),
        (None, TypeError, "token ids"),
    ],
    ids=str,
)
def test_wrong_sources(tiny_model: t5g.Model, source: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny_model.generate(source)
    with pytest.raises(error, match=message):
        tiny_model.encode(source)


def test_a_source_that_is_too_long_gives_both_counts(tiny_model: t5g.Model) -> None:
    limit = tiny_model.config.encoder.max_position_embeddings
    with pytest.raises(t5g.InputTooLongError, match=f"{limit + 1} tokens.*{limit}") as caught:
        tiny_model.generate([5] * (limit + 1))
    assert (caught.value.n_tokens, caught.value.limit) == (limit + 1, limit)
    assert isinstance(caught.value, ValueError)


def test_numpy_ids(tiny_model: t5g.Model) -> None:
    expected = tiny_model.generate(SOURCES[0], max_new_tokens=3).token_ids
    assert tiny_model.generate(np.array(SOURCES[0], np.int64), max_new_tokens=3).token_ids == expected


def test_type_checkers_know_every_option() -> None:
    source = (Path(t5g.__file__).parent / "options.py").read_text()
    for row in _core.sampling.option_table():
        assert f"    {row['name']}: " in source
