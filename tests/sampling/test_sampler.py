"""One token at a time: greedy choice, random streams, reported probabilities, masks."""

import itertools

import numpy as np
import pytest
from support.testing_module import sampling
from support.toy_model import ToyModel, generate, sample
from t5g import _core


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def draws(logits, n, sequence=0, **options):
    config = sampling.GenerationConfig(**{"temperature": 1.0, "seed": 7, **options})
    sampler = sampling.Sampler(config, 1, sequence)
    return [sampler.next(logits, [2])[0] for _ in range(n)]


def test_greedy_takes_the_first_of_the_largest():
    sampler = sampling.Sampler(sampling.GenerationConfig(), 1)
    assert sampler.next([0.0, 3.0, 3.0, 1.0], [2])[0] == 1
    assert sampler.next([np.nan, -5.0, -4.0], [2])[0] == 2


def test_greedy_on_a_large_vocabulary():
    logits = np.random.default_rng(0).normal(size=262_144).astype(np.float32)
    token, logprob = sampling.Sampler(sampling.GenerationConfig(), 1).next(logits, [2])
    assert token == logits.argmax()
    assert logprob == pytest.approx(log_softmax(logits)[token], abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_logprob_is_the_models_own_whatever_the_penalties(temperature):
    model = ToyModel(1, 30, context=1)
    config = sampling.GenerationConfig(
        max_new_tokens=20, temperature=temperature, top_k=5, repetition_penalty=1.6, no_repeat_ngram_size=3, seed=1,
        suppress_tokens=[4],
    )  # fmt: skip
    ids, logprob = sample(model, [2], config)
    expected = sum(log_softmax(model([2, *ids[:i]]))[token] for i, token in enumerate(ids))
    assert len(set(ids)) < len(ids)  # some tokens were penalised ones
    assert logprob == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("options", [{}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.1}, {"temperature": 2.0}])
def test_frequencies_are_the_probabilities(options):
    logits = np.array([0.3, -1.0, 2.0, 1.1, -0.2, 1.9, 0.0, -3.0], np.float32)
    config = sampling.GenerationConfig(**{"temperature": 1.0, **options})
    weights = sampling.warp(config, logits)
    n = 20_000
    counts = np.bincount(draws(logits, n, **options), minlength=len(logits))
    expected = np.array([weights.get(i, 0.0) for i in range(len(logits))])
    expected *= n / expected.sum()
    assert (counts[expected == 0] == 0).all()
    seen = expected > 0
    chi_square = ((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()
    assert chi_square < 24.3  # 99.9 % quantile for the 7 degrees of freedom of 8 tokens


def test_the_random_numbers_are_those_of_splitmix64():
    """Fixed for ever: a seed gives the same text with every release and on every platform."""
    word = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & word
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & word
        return z ^ (z >> 31)

    seed, sequence = 42, 3
    state = mix((mix(seed) + mix(~sequence & word)) & word)
    counters = [(state + i * 0x9E3779B97F4A7C15) & word for i in range(1, 9)]
    expected = [int((mix(counter) >> 11) * 2.0**-53 * 1000) for counter in counters]
    assert draws(np.zeros(1000, np.float32), 8, sequence, seed=seed) == expected


def test_streams_of_seeds_and_sequences_differ_and_repeat():
    flat = np.zeros(1000, np.float32)
    streams = [
        draws(flat, 50, sequence, seed=seed) for seed, sequence in itertools.product([0, 1, 2**64 - 1], range(3))
    ]
    assert streams == [draws(flat, 50, i, seed=seed) for seed, i in itertools.product([0, 1, 2**64 - 1], range(3))]
    matches = [np.mean(np.equal(a, b)) for a, b in itertools.combinations(streams, 2)]
    assert max(matches) < 0.1


def test_without_a_seed_two_calls_differ():
    flat = np.zeros(1_000_000, np.float32)
    assert draws(flat, 3, seed=None) != draws(flat, 3, seed=None)


def test_samples_are_independent_sequences_of_one_call():
    model = ToyModel(4, 60)
    config = sampling.GenerationConfig(temperature=1.0, seed=3, num_return_sequences=4, max_new_tokens=12)
    sequences = generate(model, [2], config)
    assert len({tuple(ids) for ids in sequences}) == 4
    assert sequences[2] == sample(model, [2], config, 2)[0]


def test_a_mask_sees_the_generated_ids_and_decides():
    seen = []

    def allowed(generated):
        seen.append(generated)
        return [11, 13] if len(generated) == 1 else None

    model = ToyModel(0, 40)
    config = sampling.GenerationConfig(max_new_tokens=3)
    ids, logprob = sample(model, [2, 3], config, allowed=allowed)
    assert seen == [[], ids[:1], ids[:2]]
    assert ids[0] == model([2, 3]).argmax()
    row = model([2, 3, ids[0]])
    assert ids[1] == (11 if row[11] > row[13] else 13)
    assert logprob == pytest.approx(
        sum(log_softmax(model([2, 3, *ids[:i]]))[t] for i, t in enumerate(ids)), abs=1e-4
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mask_that_allows_nothing_is_an_error(temperature):
    sampler = sampling.Sampler(sampling.GenerationConfig(temperature=temperature), 1, allowed=lambda _: [])
    with pytest.raises(_core.T5gError, match="every token is banned"):
        sampler.next(np.zeros(5, np.float32), [2])


def test_an_error_of_the_mask_reaches_the_caller():
    def fail(_):
        raise KeyError("grammar")

    with pytest.raises(KeyError, match="grammar"):
        sampling.Sampler(sampling.GenerationConfig(), 1, allowed=fail).next(np.zeros(5, np.float32), [2])
