"""choices= and allowed_tokens=: a text is one of some texts, however it is searched for."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import t5g

SOURCE = "tar is an archiving program for files. It can compress them, too."
CHOICES = ["archive tool", "archive tool for files", "text editor", "tex", "web server", "tool"]
# One longer than the longest choice, so that every beam can end.
FREE = {"max_new_tokens": 40}


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model() as model:
        yield model


def exact(model: t5g.Model, choices: list[str]) -> dict[str, float]:
    return {text: model.score(SOURCE, text, add_eos=True).logprob for text in choices}


@pytest.fixture(scope="module")
def scores(model: t5g.Model) -> dict[str, float]:
    return exact(model, CHOICES)


def as_function(model: t5g.Model, choices: list[str]) -> Any:
    """The same constraint as a function of the ids so far."""
    texts = [
        [*model.tokenizer.encode(text, add_special_tokens=False), model.config.eos_token_id[0]] for text in choices
    ]

    def allowed(ids: list[int]) -> list[int]:
        return [text[len(ids)] for text in texts if text[: len(ids)] == ids and len(text) > len(ids)]

    return allowed


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draft": "off"},
        {"temperature": 1.5, "num_return_sequences": 6, "seed": 3},
        {"temperature": 1.0, "top_k": 3, "num_return_sequences": 6, "seed": 4},
        {"num_beams": 3, "num_return_sequences": 3},
        {"repetition_penalty": 1.5, "encoder_repetition_penalty": 2.0},
        {"logit_bias": {9: 3.0}, "no_repeat_ngram_size": 3},
        {"alternatives": 3},
        {"logprobs": 4},
    ],
    ids=str,
)
def test_a_function_that_says_the_same_gives_the_same(model: t5g.Model, options: dict[str, Any]) -> None:
    by_choices = model.generate(SOURCE, choices=CHOICES, **options)
    by_function = model.generate(SOURCE, allowed_tokens=as_function(model, CHOICES), **options)
    for one, other in zip(by_choices.sequences, by_function.sequences, strict=True):
        assert one.text in CHOICES
        assert one.finish_reason == "stop"
        assert (one.token_ids, one.logprob, one.score) == (other.token_ids, other.logprob, other.score)
        assert one.top_logprobs == other.top_logprobs


def test_the_log_probability_is_that_of_the_text_with_its_end(model: t5g.Model, scores: dict[str, float]) -> None:
    out = model.generate(SOURCE, choices=CHOICES)
    assert out.logprob == scores[out.text]
    assert sum(out.token_logprobs) == pytest.approx(out.logprob, rel=1e-6)


def test_beams_that_are_as_many_as_the_choices_rank_all_of_them(model: t5g.Model, scores: dict[str, float]) -> None:
    n = len(CHOICES)
    out = model.generate(SOURCE, choices=CHOICES, num_beams=n, num_return_sequences=n, length_penalty=0.0,
                         early_stopping="never")  # fmt: skip
    assert [s.text for s in out.sequences] == sorted(CHOICES, key=lambda text: -scores[text])
    for sequence in out.sequences:
        assert sequence.logprob == pytest.approx(scores[sequence.text], abs=1e-4)
        assert sequence.score == pytest.approx(scores[sequence.text], abs=1e-4)


def test_samples_have_the_probabilities_of_a_walk_through_the_trie(model: t5g.Model) -> None:
    choices = ["tool", "tools", "text editor"]
    allowed, source = as_function(model, choices), model.encode(SOURCE)
    bos = model.tokenizer.bos_id
    expected = {}
    for text in choices:
        ids = [*model.tokenizer.encode(text, add_special_tokens=False), model.config.eos_token_id[0]]
        logits = model.logits(source, [bos, *ids])
        probability = 1.0
        for i, token in enumerate(ids):
            row = np.exp(logits[i][list(dict.fromkeys(allowed(ids[:i])))].astype(np.float64))
            probability *= math.exp(logits[i][token]) / row.sum()
        expected[text] = probability
    assert sum(expected.values()) == pytest.approx(1, abs=1e-4)
    n = 600
    out = model.generate(source, choices=choices, temperature=1.0, num_return_sequences=n, seed=1)
    found = Counter(s.text for s in out.sequences)
    for text, probability in expected.items():
        assert abs(found[text] / n - probability) < 4 * math.sqrt(probability * (1 - probability) / n) + 1e-3


def test_a_batch_gives_what_each_gives_alone(model: t5g.Model) -> None:
    sources = [SOURCE, "a web server", "an editor for plain text", "x"] * 3
    alone = [model.generate(s, choices=CHOICES) for s in sources]
    together = model.generate_batch(sources, choices=CHOICES, max_batch_size=5)
    assert [(o.text, o.logprob) for o in together] == [(o.text, o.logprob) for o in alone]


def test_streams_prefixes_and_stop_strings(model: t5g.Model) -> None:
    assert "".join(model.stream(SOURCE, choices=CHOICES)) == model.generate(SOURCE, choices=CHOICES).text
    out = model.generate(SOURCE, choices=["A", "B"], decoder_prefix="The answer is ")
    assert out.text in ("A", "B")
    stopped = model.generate(SOURCE, choices=["yes, of course"], stop=",")
    assert (stopped.text, stopped.finish_reason) == ("yes", "stop")
    cut = model.generate(SOURCE, choices=["yes, of course"], max_new_tokens=1)
    assert cut.finish_reason == "length"
    assert "yes, of course".startswith(cut.text)


def test_one_choice_is_written_and_its_score_is_exact(model: t5g.Model) -> None:
    text = "A rather long text that no model would write by itself, with ünicode 🙂."
    out = model.generate(SOURCE, choices=[text])
    assert (out.text, out.finish_reason) == (text, "stop")
    assert out.logprob == model.score(SOURCE, text, add_eos=True).logprob
    sampled = model.generate(SOURCE, choices=[text], temperature=1.0, seed=1)
    assert (sampled.text, sampled.logprob) == (text, out.logprob)


def test_a_thousand_choices(model: t5g.Model) -> None:
    r = random.Random(0)
    words = ["".join(r.choice("abcdefgh ") for _ in range(r.randint(1, 12))).strip() or "a" for _ in range(1000)]
    out = model.generate(SOURCE, choices=words, temperature=1.0, num_return_sequences=20, seed=0)
    assert all(s.text in words for s in out.sequences)


def test_random_choices_on_random_models(tiny_model: t5g.Model) -> None:
    ordinary = [i for i in range(5, tiny_model.config.vocab_size) if i not in tiny_model.config.eos_token_id]
    for seed in range(20):
        r = random.Random(seed)
        texts = [[r.choice(ordinary) for _ in range(r.randint(1, 4))] for _ in range(r.randint(1, 9))]

        def allowed(ids: list[int], texts: list[list[int]] = texts) -> list[int]:
            ends = [tiny_model.config.eos_token_id[0]] if ids in texts else []
            return ends + [t[len(ids)] for t in texts if t[: len(ids)] == ids and len(t) > len(ids)]

        for options in ({}, {"num_beams": 4, "num_return_sequences": 2}, {"temperature": 2.0, "seed": seed}):
            out = tiny_model.generate([5, 9, 31], allowed_tokens=allowed, max_new_tokens=9, **options)
            assert all(s.token_ids[:-1] in texts and s.finish_reason == "stop" for s in out.sequences)


def test_masks_and_ids_of_a_function_mean_the_same(model: t5g.Model) -> None:
    size = model.config.vocab_size
    half = np.arange(size) % 2 == 0
    for options in ({}, {"num_beams": 3}, {"temperature": 1.0, "seed": 2}):
        outs = [
            model.generate(SOURCE, allowed_tokens=lambda _, a=answer: a, max_new_tokens=12, **options)
            for answer in (half, half.tolist(), np.flatnonzero(half), np.flatnonzero(half).tolist())
        ]
        assert all(all(token % 2 == 0 for token in out.token_ids) for out in outs)
        assert all(out.token_ids == outs[0].token_ids for out in outs)
    free = model.generate(SOURCE, max_new_tokens=12)
    assert model.generate(SOURCE, allowed_tokens=lambda _: None, max_new_tokens=12).token_ids == free.token_ids


class Trouble(Exception):
    pass


def test_errors_of_a_function_reach_the_caller(model: t5g.Model) -> None:
    def fail(ids: list[int]) -> list[int]:
        if len(ids) == 2:
            raise Trouble("here")
        return list(range(5, 90))

    for options in ({}, {"num_beams": 2}, {"temperature": 1.0}):
        with pytest.raises(Trouble, match="here"):
            model.generate(SOURCE, allowed_tokens=fail, **options)
    with pytest.raises(Trouble):
        list(model.stream(SOURCE, allowed_tokens=fail))
    with pytest.raises(Trouble):
        list(model.generate_iter([SOURCE], allowed_tokens=fail))
    assert model.generate(SOURCE, max_new_tokens=2).token_ids  # it stays usable


def test_a_function_may_use_the_model(model: t5g.Model) -> None:
    def allowed(ids: list[int]) -> list[int]:
        return [*model.generate("other", max_new_tokens=2).token_ids, 1]

    assert model.generate(SOURCE, allowed_tokens=allowed, max_new_tokens=3).token_ids


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"choices": []}, t5g.InvalidArgumentError, "choices: must have one text or more"),
        ({"choices": ["a", ""]}, t5g.InvalidArgumentError, r"choices\[1\]: must be a text of one character"),
        ({"choices": "abc"}, t5g.ArgumentTypeError, "choices: must be a list of str"),
        ({"choices": ["a", 3]}, t5g.ArgumentTypeError, r"choices\[1\]: must be a str, got 3"),
        ({"choices": ["a"], "regex": "b"}, t5g.InvalidArgumentError, "choices and regex: a text has one of them"),
        ({"allowed_tokens": [1]}, t5g.ArgumentTypeError, "allowed_tokens: must be a function"),
        ({"allowed_tokens": lambda _: "x"}, t5g.ArgumentTypeError, "allowed_tokens: must return token ids"),
        ({"allowed_tokens": lambda _: [1.5]}, t5g.ArgumentTypeError, "allowed_tokens: must return token ids"),
        ({"allowed_tokens": lambda _: [10**9]}, t5g.InvalidArgumentError, "returned token 1000000000, outside"),
        ({"allowed_tokens": lambda _: [True]}, t5g.InvalidArgumentError, "a mask of 1 values, expected one"),
        ({"allowed_tokens": lambda _: []}, t5g.T5gError, "every token is banned"),
        ({"logit_bias": {10**6: 1.0}}, t5g.InvalidArgumentError, "logit_bias: token 1000000 is outside the model's"),
        ({"bad_words": [[10**6]]}, t5g.InvalidArgumentError, "bad_words: token 1000000 is outside"),
        ({"bad_words": [""]}, t5g.InvalidArgumentError, r"bad_words\[0\]: must be a text of one character"),
        ({"eos_token_ids": [10**6]}, t5g.InvalidArgumentError, "eos_token_ids: token 1000000 is outside"),
        ({"choices": ["a"], "min_new_tokens": 30}, t5g.T5gError, "every token is banned"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(model: t5g.Model, given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.generate(SOURCE, **given)


# ---- Options that need no constraint ----


def test_alternatives_begin_with_the_likeliest_tokens_and_go_on_greedily(model: t5g.Model) -> None:
    prefix = model.tokenizer.encode("program to", add_special_tokens=False)
    out = model.generate(SOURCE, decoder_prefix=prefix, alternatives=5, max_new_tokens=8)
    logits = model.logits(SOURCE, [model.tokenizer.bos_id, *prefix])[-1]
    best = np.argsort(-logits, kind="stable")[:5].tolist()
    assert [s.token_ids[0] for s in out.sequences] == best
    for sequence in out.sequences:
        first = sequence.token_ids[0]
        if first in model.config.eos_token_id:
            continue
        rest = model.generate(SOURCE, decoder_prefix=[*prefix, first], max_new_tokens=7)
        assert sequence.token_ids[1:] == rest.token_ids


def test_log_probabilities_and_their_alternatives_are_those_of_the_logits(model: t5g.Model) -> None:
    sampling = {"temperature": 1.0, "seed": 1, "num_return_sequences": 2}
    beams = {"num_beams": 3, "num_return_sequences": 2}
    for options in ({}, sampling, beams, {"repetition_penalty": 1.3, "suppress_tokens": [9]}):
        out = model.generate(SOURCE, logprobs=4, max_new_tokens=9, **options)
        for sequence in out.sequences:
            logits = model.logits(SOURCE, [model.tokenizer.bos_id, *sequence.token_ids])[:-1].astype(np.float64)
            rows = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            expected = [row[token] for row, token in zip(rows, sequence.token_ids, strict=True)]
            assert sequence.token_logprobs == pytest.approx(expected, abs=1e-4)
            assert sequence.top_logprobs is not None
            for row, top in zip(rows, sequence.top_logprobs, strict=True):
                assert list(top) == np.argsort(-row, kind="stable")[:4].tolist()
                assert list(top.values()) == pytest.approx(np.sort(row)[::-1][:4].tolist(), abs=1e-4)
    plain = model.generate(SOURCE, max_new_tokens=9)
    assert plain.top_logprobs is None
    assert plain.token_logprobs == model.generate(SOURCE, max_new_tokens=9, logprobs=1).token_logprobs
    assert plain.token_logprobs == model.score(SOURCE, plain.token_ids).token_logprobs.tolist()


def test_first_tokens_end_tokens_and_bans(model: t5g.Model) -> None:
    plain = model.generate(SOURCE, max_new_tokens=10).token_ids
    assert model.generate(SOURCE, forced_bos_token_id=77, max_new_tokens=4).token_ids[0] == 77
    assert model.generate(SOURCE, forced_bos_token_id=77, max_new_tokens=4, temperature=1.0).token_ids[0] == 77
    prefixed = model.generate(SOURCE, decoder_prefix="a", max_new_tokens=4).token_ids
    assert model.generate(SOURCE, forced_bos_token_id=77, decoder_prefix="a", max_new_tokens=4).token_ids == prefixed
    ended = model.generate(SOURCE, eos_token_ids=[plain[2], 50], max_new_tokens=10)
    assert (ended.token_ids, ended.finish_reason) == (plain[: plain.index(plain[2]) + 1], "stop")
    assert model.generate(SOURCE, eos_token_ids=plain[2], max_new_tokens=10).token_ids == ended.token_ids
    for given in ({"suppress_tokens": [plain[0]]}, {"bad_words": [[plain[0]]]}, {"logit_bias": {plain[0]: -math.inf}}):
        assert model.generate(SOURCE, max_new_tokens=10, **given).token_ids[0] != plain[0]
    text = model.generate(SOURCE, max_new_tokens=20).text
    for word in itertools.islice(dict.fromkeys(text.split()), 3):
        assert word not in model.generate(SOURCE, max_new_tokens=20, bad_words=[word]).text.split()


def test_a_timeout_ends_a_text_as_it_is(model: t5g.Model) -> None:
    slow = {"allowed_tokens": lambda _: __import__("time").sleep(0.05), "min_new_tokens": 200, "max_new_tokens": 200}
    out = model.generate(SOURCE, timeout=0.3, **slow)
    assert out.finish_reason == "timeout"
    assert 1 <= len(out.token_ids) < 20
    outs = model.generate_batch([SOURCE] * 3, max_batch_size=1, timeout=0.2, **slow)
    assert [o.finish_reason for o in outs] == ["timeout"] * 3
    assert not outs[2].token_ids
    assert model.generate(SOURCE, timeout=1000, max_new_tokens=2).finish_reason == "length"
    assert model.generate(SOURCE, timeout=None, max_new_tokens=2).finish_reason == "length"
    assert model.generate(SOURCE, timeout=0, max_new_tokens=2).finish_reason == "length"
