"""temperature, top_k, top_p and min_p: which tokens are left and with which probability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.testing_module import sampling


def left(logits, **options):
    """{token: probability} after the warpers."""
    weights = sampling.warp(
        sampling.GenerationConfig(**{"temperature": 1.0, **options}), np.asarray(logits, np.float32)
    )
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def reference(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """The same in float64, by sorting."""
    scores = np.asarray(logits, np.float64) / temperature
    if top_k:
        scores[scores < np.sort(scores)[::-1][min(top_k, len(scores)) - 1]] = -np.inf
    if top_p < 1:
        order = np.argsort(-scores, kind="stable")
        before = np.concatenate([[0], np.cumsum(softmax(scores)[order])[:-1]])
        scores[order[(before >= top_p) & (np.arange(len(order)) > 0)]] = -np.inf
    p = softmax(scores)
    scores[p < min_p * p.max()] = -np.inf
    return {int(i): float(p) for i, p in enumerate(softmax(scores)) if p > 0}


def assert_same_distribution(found, expected):
    assert found.keys() == expected.keys()
    for token, probability in expected.items():
        assert found[token] == pytest.approx(probability, rel=1e-4)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), scale=st.sampled_from([0.1, 1.0, 5.0]),
    temperature=st.sampled_from([0.3, 1.0, 1.7]), top_k=st.sampled_from([0, 1, 2, 7, 50, 299, 1000]),
    top_p=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999, 1.0]), min_p=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)  # fmt: skip
def test_warpers_leave_the_tokens_that_sorting_leaves(seed, n, scale, temperature, top_k, top_p, min_p):
    logits = (np.random.default_rng(seed).normal(size=n) * scale).astype(np.float32)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    assert_same_distribution(left(logits, **options), reference(logits, **options))


def test_top_k_keeps_ties_with_the_last_one():
    assert left([1.0, 3.0, 2.0, 2.0, 0.0], top_k=2).keys() == {1, 2, 3}


def test_top_p_keeps_the_token_that_crosses_the_threshold():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    assert left(logits, top_p=0.49).keys() == {0}
    assert left(logits, top_p=0.51).keys() == {0, 1}
    assert left(logits, top_p=0.81).keys() == {0, 1, 2}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100])
def test_top_p_zero_keeps_one_token_even_among_equals(n):
    assert len(left(np.zeros(n), top_p=0.0)) == 1


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.9999])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.5, 3.0])
def test_top_p_of_a_large_and_flat_vocabulary_is_that_of_sorting(scale, top_p):
    logits = (np.random.default_rng(7).normal(size=50_000) * scale).astype(np.float32)
    assert left(logits, top_p=top_p).keys() == reference(logits, top_p=top_p).keys()


@pytest.mark.parametrize("typical_p", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_typical_p_of_a_large_vocabulary_is_that_of_sorting(scale, typical_p):
    logits = (np.random.default_rng(8).normal(size=50_000) * scale).astype(np.float32)
    p = softmax(logits.astype(np.float64))
    distances = np.abs(-np.log(p) + (p * np.log(p)).sum())
    order = np.argsort(distances, kind="stable")
    n = int((np.cumsum(p[order]) < typical_p).sum()) + 1
    found = left(logits, typical_p=typical_p).keys()
    assert len(found ^ set(order[:n].tolist())) <= 1  # float32 weights: the last one may be on either side


def test_min_p_is_a_share_of_the_most_likely():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    assert left(logits, min_p=0.29).keys() == {0, 1, 2}
    assert left(logits, min_p=0.31).keys() == {0, 1}


@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_extreme_temperatures_do_not_overflow(temperature):
    found = left([1.0, 2.0, -3.0], temperature=temperature)
    expected = {1: 1.0} if temperature < 1 else {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}
    assert {t: p for t, p in found.items() if p > 0} == pytest.approx(expected)


def test_banned_and_undefined_tokens_are_never_left():
    assert left([-np.inf, 1.0, np.nan, 0.0]).keys() == {1, 3}
    assert left([-np.inf, 1.0, np.nan, 0.0], top_k=3).keys() == {1, 3}


@pytest.mark.oracle
def test_distribution_equals_that_of_transformers():
    torch = pytest.importorskip("torch")
    hf = pytest.importorskip("transformers.generation.logits_process")
    rng = np.random.default_rng(11)
    for _ in range(300):
        logits = (rng.normal(size=rng.integers(2, 400)) * rng.choice([0.5, 2.0, 6.0])).astype(np.float32)
        temperature, top_k = float(rng.choice([0.4, 0.9, 2.0])), int(rng.choice([1, 5, 40, 1000]))
        top_p, min_p = float(rng.choice([0.2, 0.77, 0.95])), float(rng.choice([0.01, 0.2]))
        scores = torch.from_numpy(logits)[None]
        for warper in (
            hf.TemperatureLogitsWarper(temperature), hf.TopKLogitsWarper(top_k), hf.TopPLogitsWarper(top_p),
            hf.MinPLogitsWarper(min_p),
        ):  # fmt: skip
            scores = warper(None, scores)
        probabilities = torch.softmax(scores, dim=-1)[0].numpy()
        expected = {int(i): float(probabilities[i]) for i in np.flatnonzero(probabilities)}
        found = left(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        assert_same_distribution(found, expected)
