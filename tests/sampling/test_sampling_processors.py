"""Penalties and bans, against NumPy and against Hugging Face's processors."""

import numpy as np
import pytest
from support.testing_module import sampling

V = 50


def process(logits, ids, prompt_length=1, source_ids=(), **options):
    return sampling.process(sampling.GenerationConfig(**options), prompt_length, logits, ids, list(source_ids))


@pytest.fixture
def logits():
    return np.random.default_rng(3).normal(size=V).astype(np.float32)


def test_nothing_changes_by_default(logits):
    np.testing.assert_array_equal(process(logits, [2, 5, 5], eos_token_ids=[1]), logits)


@pytest.mark.parametrize("penalty", [1.5, 0.7])
def test_repetition_penalty_counts_each_token_once_prompt_included(logits, penalty):
    expected = logits.copy()
    for token in {2, 5, 9}:
        expected[token] = expected[token] * np.float32(penalty) if expected[token] < 0 else expected[token] / penalty
    found = process(logits, [2, 5, 9, 5, 5], prompt_length=2, repetition_penalty=penalty)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("n", "ids", "banned"),
    [
        (1, [2, 7, 7], {2, 7}),
        (2, [2, 7, 8, 7], {8}),
        (2, [2, 7, 7], {7}),
        (2, [7], set()),
        (3, [4, 5, 6, 4, 5, 9, 4, 5], {6, 9}),
        (3, [4, 5], set()),
        (4, [1, 1, 1, 1], {1}),
    ],
)
def test_no_repeat_ngram_bans_what_would_complete_a_known_run(logits, n, ids, banned):
    found = process(logits, ids, no_repeat_ngram_size=n)
    assert set(np.flatnonzero(np.isneginf(found))) == banned
    np.testing.assert_array_equal(np.delete(found, list(banned)), np.delete(logits, list(banned)))


@pytest.mark.parametrize(("n_generated", "banned"), [(0, {1, 9}), (2, {1, 9}), (3, set()), (4, set())])
def test_min_new_tokens_bans_every_end_token_and_does_not_count_the_prompt(logits, n_generated, banned):
    ids = [2, 30, 31, *range(10, 10 + n_generated)]
    found = process(logits, ids, prompt_length=3, min_new_tokens=3, eos_token_ids=[1, 9])
    assert set(np.flatnonzero(np.isneginf(found))) == banned


def test_suppressed_tokens_are_banned_and_ids_outside_the_vocabulary_do_no_harm(logits):
    options = {
        "suppress_tokens": [4, V, 10**6], "eos_token_ids": [V + 1], "min_new_tokens": 1,
        "repetition_penalty": 2.0, "no_repeat_ngram_size": 1,
    }  # fmt: skip
    found = process(logits, [V, V + 7], prompt_length=2, **options)
    assert set(np.flatnonzero(np.isneginf(found))) == {4}


@pytest.mark.oracle
def test_processors_equal_those_of_transformers():
    torch = pytest.importorskip("torch")
    hf = pytest.importorskip("transformers.generation.logits_process")
    rng = np.random.default_rng(5)
    for _ in range(200):
        logits = (rng.normal(size=V) * 4).astype(np.float32)
        ids = rng.integers(0, 12, rng.integers(1, 20)).tolist()
        penalty, n = float(rng.choice([0.5, 1.1, 3.0])), int(rng.integers(1, 4))
        expected = torch.from_numpy(logits)[None]
        for processor in (
            hf.RepetitionPenaltyLogitsProcessor(penalty),
            hf.NoRepeatNGramLogitsProcessor(n),
            hf.MinNewTokensLengthLogitsProcessor(1, 6, [1, 40]),
            hf.SuppressTokensLogitsProcessor([3, 4]),
        ):
            expected = processor(torch.tensor([ids]), expected)
        found = process(
            logits, ids, repetition_penalty=penalty, no_repeat_ngram_size=n, min_new_tokens=6, eos_token_ids=[1, 40],
            suppress_tokens=[3, 4],
        )  # fmt: skip
        np.testing.assert_array_equal(found, expected[0].numpy())


@pytest.mark.parametrize("seed", range(200))
def test_every_change_is_announced(seed):
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, V + 5, draw.integers(1, 30)).tolist()  # some are no tokens of the row
    source = draw.integers(0, V + 5, draw.integers(0, 30)).tolist()
    config = sampling.GenerationConfig(
        repetition_penalty=float(draw.choice([1.0, 1.3])),
        no_repeat_ngram_size=int(draw.integers(0, 3)),
        min_new_tokens=int(draw.integers(0, 40)),
        eos_token_ids=draw.integers(0, V + 5, 2).tolist(),
        suppress_tokens=draw.integers(0, V + 5, draw.integers(0, 3)).tolist(),
        encoder_repetition_penalty=float(draw.choice([1.0, 1.3])),
        encoder_no_repeat_ngram_size=int(draw.integers(0, 3)),
        logit_bias={int(token): 1.5 for token in draw.integers(0, V + 5, draw.integers(0, 3))},
        bad_words=[draw.integers(0, V + 5, draw.integers(1, 3)).tolist() for _ in range(draw.integers(0, 4))],
    )
    logits = draw.normal(size=V).astype(np.float32)
    touched = sampling.touched(config, 1, ids, source)
    assert touched == sorted(set(touched))
    changed = np.flatnonzero(sampling.process(config, 1, logits, ids, source) != logits)
    assert set(changed.tolist()) <= set(touched)
