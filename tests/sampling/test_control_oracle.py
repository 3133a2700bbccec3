"""Biases, bans and forced tokens against transformers' own processors: each, and in random combinations."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.testing_module import sampling
from support.toy_cases import ToyCase, draw_case
from support.toy_model import beam_search, equals_up_to_rounding, generate

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers.generation.logits_process")
toy_hf = pytest.importorskip("support.toy_hf")

torch.set_num_threads(1)

pytestmark = pytest.mark.oracle

V = 60
EOS = [1, 40]


def draw_options(r: random.Random) -> dict[str, Any]:
    """Some of the processors; every one of them in a third of the draws."""

    def ids(n: int) -> list[int]:
        return [r.randrange(2, V) for _ in range(n)]

    all_of_them: dict[str, Any] = {
        "logit_bias": {token: r.uniform(-4, 4) for token in ids(4)},
        "encoder_repetition_penalty": r.choice([0.6, 1.5, 3.0]),
        "repetition_penalty": r.choice([0.5, 1.1, 3.0]),
        "no_repeat_ngram_size": r.choice([1, 2, 3]),
        "encoder_no_repeat_ngram_size": r.choice([1, 2, 3, 9]),
        "bad_words": [ids(r.choice([1, 1, 2, 3])) for _ in range(5)] + [[EOS[0]]],
        "min_new_tokens": r.choice([1, 6]),
        "forced_bos_token_id": r.randrange(V),
        "suppress_tokens": ids(3),
    }
    return {name: value for name, value in all_of_them.items() if r.random() < 1 / 3}


def theirs(options: dict[str, Any], source: list[int]) -> list[Any]:
    """The same as transformers makes them, in its order."""
    encoder_ids = torch.tensor([source])
    make = {
        "logit_bias": lambda x: hf.SequenceBiasLogitsProcessor({(token,): bias for token, bias in x.items()}),
        "encoder_repetition_penalty": lambda x: hf.EncoderRepetitionPenaltyLogitsProcessor(x, encoder_ids),
        "repetition_penalty": hf.RepetitionPenaltyLogitsProcessor,
        "no_repeat_ngram_size": hf.NoRepeatNGramLogitsProcessor,
        "encoder_no_repeat_ngram_size": lambda x: hf.EncoderNoRepeatNGramLogitsProcessor(x, encoder_ids),
        "bad_words": lambda x: hf.NoBadWordsLogitsProcessor(x, torch.tensor(EOS)),
        "min_new_tokens": lambda x: hf.MinNewTokensLengthLogitsProcessor(1, x, EOS),
        "forced_bos_token_id": hf.ForcedBOSTokenLogitsProcessor,
        "suppress_tokens": hf.SuppressTokensLogitsProcessor,
        "temperature": hf.TemperatureLogitsWarper,
        "top_k": hf.TopKLogitsWarper,
        "top_p": hf.TopPLogitsWarper,
        "min_p": hf.MinPLogitsWarper,
        "typical_p": hf.TypicalLogitsWarper,
        "epsilon_cutoff": hf.EpsilonLogitsWarper,
        "eta_cutoff": lambda x: hf.EtaLogitsWarper(x),
    }
    return [make[name](options[name]) for name in make if name in options]


def draw_row(r: random.Random) -> tuple[np.ndarray, list[int], list[int]]:
    logits = (np.random.default_rng(r.randrange(1 << 30)).normal(size=V) * 4).astype(np.float32)
    ids = [2, *(r.randrange(2, 12) for _ in range(r.choice([0, 0, 3, 15])))]
    return logits, ids, [r.randrange(2, 14) for _ in range(r.choice([1, 4, 20]))]


def expected_scores(options: dict[str, Any], logits: np.ndarray, ids: list[int], source: list[int]) -> torch.Tensor:
    scores = torch.from_numpy(logits)[None]
    for processor in theirs(options, source):
        scores = processor(torch.tensor([ids]), scores)
    return scores[0]


def test_processors_alone_and_in_random_combinations() -> None:
    for seed in range(600):
        r = random.Random(seed)
        options = draw_options(r)
        if seed < 200:  # each by itself
            options = dict(list(options.items())[:1])
        logits, ids, source = draw_row(r)
        found = sampling.process(sampling.GenerationConfig(eos_token_ids=EOS, **options), 1, logits, ids, source)
        expected = expected_scores(options, logits, ids, source).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{seed} {options}")


def test_the_distribution_that_is_sampled_from() -> None:
    for seed in range(600):
        r = random.Random(seed)
        warpers: dict[str, Any] = {
            "temperature": r.choice([0.5, 1.0, 1.8]),
            "top_k": r.choice([3, 20]),
            "top_p": r.choice([0.5, 0.9]),
            "min_p": r.choice([0.02, 0.2]),
            "typical_p": r.choice([0.2, 0.7, 0.95]),
            "epsilon_cutoff": r.choice([0.002, 0.05]),
            "eta_cutoff": r.choice([0.002, 0.05, 0.3]),
        }
        warpers = {name: value for name, value in warpers.items() if name == "temperature" or r.random() < 0.4}
        options = draw_options(r) | warpers
        options.pop("forced_bos_token_id", None)
        logits, ids, source = draw_row(r)
        expected = torch.softmax(expected_scores(options, logits, ids, source), -1).numpy()
        config = sampling.GenerationConfig(eos_token_ids=EOS, **options)
        weights = sampling.warp(config, sampling.process(config, 1, logits, ids, source))
        total = sum(weights.values())
        found = np.zeros(V, np.float32)
        for token, weight in weights.items():
            found[token] = weight / total
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7, err_msg=f"{seed} {options}")


def draw_controlled(seed: int, *, beams: bool) -> ToyCase:
    """A call of generate() with processors that a model without an encoder has, too."""
    case = draw_case(seed, beams=beams)
    r = random.Random(-1 - seed)
    size = case.model.vocab_size
    more: dict[str, Any] = {
        "logit_bias": {r.randrange(size): r.uniform(-3, 3) for _ in range(4)},
        "bad_words": [[r.randrange(size) for _ in range(r.choice([1, 2, 2]))] for _ in range(6)],
        "forced_bos_token_id": r.choice([token for token in range(size) if token not in case.suppress]),
    }
    more = {name: value for name, value in more.items() if r.random() < 0.6}
    return replace(case, options=case.options | more)


def run_theirs(case: ToyCase) -> tuple[list[list[int]], list[float]]:
    renamed = dict(case.options)
    if bias := renamed.pop("logit_bias", None):
        renamed["sequence_bias"] = {(token,): value for token, value in bias.items()}
    if words := renamed.pop("bad_words", None):
        renamed["bad_words_ids"] = words
    return toy_hf.generate(replace(case, options=renamed))


@pytest.mark.parametrize("block", range(4))
def test_greedy_ids_are_those_of_generate(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        case = draw_controlled(seed, beams=False)
        assert generate(case.model, case.prompt, case.config) == run_theirs(case)[0], (seed, case)


@pytest.mark.parametrize("block", range(6))
def test_beams_and_their_scores_are_those_of_generate(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        case = draw_controlled(seed, beams=True)
        expected, scores = run_theirs(case)
        found = beam_search(case.model, case.prompt, case.config)
        forced = case.options.get("forced_bos_token_id") if len(case.prompt) == 1 else None
        if forced is not None and (case.options["max_new_tokens"] == 1 or forced in case.eos):
            # There is one text. transformers fills up with copies and with what is banned.
            assert [h.generated_ids for h in found] == expected[:1]
            continue
        if [h.generated_ids for h in found] == expected:
            assert [h.score for h in found] == pytest.approx(scores, rel=1e-5, abs=1e-5)
        else:
            assert equals_up_to_rounding(expected, case.model, case.prompt, case.config), (seed, case)


@pytest.mark.parametrize("as_mask", [False, True])
@pytest.mark.parametrize("beams", [False, True])
def test_a_function_allows_what_prefix_allowed_tokens_fn_does(as_mask: bool, beams: bool) -> None:
    for seed in range(40):
        case = draw_case(seed, beams=beams)
        n_prompt, size = len(case.prompt), case.model.vocab_size

        def allowed(generated: list[int], size: int = size, seed: int = seed) -> list[int]:
            r = random.Random(f"{seed} {generated}")
            return sorted(r.sample(range(size), size // 2))

        expected = toy_hf.generate(
            case, prefix_allowed_tokens_fn=lambda _, ids, n=n_prompt, f=allowed: f(ids.tolist()[n:])
        )[0]
        options = {"allowed": allowed, "as_mask": as_mask}
        found = generate(case.model, case.prompt, case.config, **options)
        assert found == expected or equals_up_to_rounding(expected, case.model, case.prompt, case.config, **options)
