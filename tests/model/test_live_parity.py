"""t5g equals transformers on checkpoints made on the spot: every case of support.cases, and thousands of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.cases import CASES, LONG_CASES, Case
from support.oracle import ask, ask_without_source, draw_ids, draw_target, generate, relative_error, tolerance

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.4")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
pytest.importorskip("gguf")
pytestmark = pytest.mark.oracle

OPTIONS = {
    "greedy": {},
    "beam": {"num_beams": 4},
    "beam, short answers": {"num_beams": 4, "length_penalty": 0.3},
    "beam, stops early": {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
    "repetition penalty": {"repetition_penalty": 1.7},
    "no repeated bigram": {"no_repeat_ngram_size": 2},
    "at least": {"min_new_tokens": 20},
}


@dataclass
class Pair:
    case: Case
    theirs: Any
    ours: t5g.Model


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Pair]:
    pairs: dict[str, Pair] = {}

    def make(case: Case) -> Pair:
        if case.name not in pairs:
            from support.checkpoints import save_checkpoint

            torch.set_num_threads(1)
            folder: Path = tmp_path_factory.mktemp(case.name)
            theirs = save_checkpoint(case, folder)
            t5g.convert(folder, folder / "model.gguf", type="f32")
            pairs[case.name] = Pair(case, theirs, t5g.Model(folder / "model.gguf", encoder_window="inclusive"))
        return pairs[case.name]

    return make


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, make_pair: Callable[[Case], Pair]) -> Pair:
    return make_pair(request.param)


def check_logits(pair: Pair, source: list[int], target: list[int]) -> None:
    expected = ask(pair.theirs, source, target)
    encoded = pair.ours.encode(source)
    assert relative_error(encoded.hidden_states, expected.hidden_states) < tolerance(pair.ours)
    assert relative_error(pair.ours.logits(encoded, target), expected.logits) < tolerance(pair.ours)


def test_logits_for_many_lengths(pair: Pair) -> None:
    window = pair.case.encoder["sliding_window"]
    for length in sorted({1, 2, 3, window - 1, window, window + 1, 2 * window + 1, pair.case.source_length, 131}):
        check_logits(pair, draw_ids(pair.case, length, length), draw_target(pair.case, 3, length))
    window = pair.case.decoder["sliding_window"]
    for length in sorted({1, 2, window, window + 1, 2 * window + 1, pair.case.target_length, 67}):
        check_logits(pair, draw_ids(pair.case, 9, length), draw_target(pair.case, length, length))


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.architecture == "t5gemma2"], ids=lambda case: case.name
)
def test_logits_without_a_source(case: Case, make_pair: Callable[[Case], Pair]) -> None:
    pair, target = make_pair(case), draw_target(case, 9, 1)
    found = pair.ours.logits([], target)
    assert relative_error(found, ask_without_source(pair.theirs, target)) < tolerance(pair.ours)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_generated_ids(pair: Pair, options: dict[str, Any]) -> None:
    ends = pair.theirs.generation_config.eos_token_id
    for length in (1, 12):
        source = draw_ids(pair.case, length, 77)
        expected = generate(pair.theirs, source, 32, **options)
        found = pair.ours.generate(source, max_new_tokens=32, **options).token_ids
        assert without_end(found, ends) == without_end(expected, ends)


def test_a_batch_scores_and_generates_as_alone(pair: Pair) -> None:
    sources = [draw_ids(pair.case, length, length) for length in (1, 30, 7, 7, 18)] + [[]]
    for options in ({}, {"num_beams": 4}):
        batch = pair.ours.generate_batch(sources, max_new_tokens=20, **options)
        alone = [pair.ours.generate(source, max_new_tokens=20, **options) for source in sources]
        assert [one.token_ids for one in batch] == [one.token_ids for one in alone]
        assert [one.logprob for one in batch] == [one.logprob for one in alone]


def test_where_the_decoder_looks(pair: Pair) -> None:
    for n_source, n_target in ((1, 1), (13, 17), (40, 31)):  # beyond the windows of both sides
        source, target = draw_ids(pair.case, n_source, 1), draw_target(pair.case, n_target, 2)
        ids = torch.tensor([source])
        with torch.no_grad():
            out = pair.theirs(
                input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=torch.tensor([target]),
                output_attentions=True, use_cache=False,
            )  # fmt: skip
        # Of T5Gemma 2, too, these are the source's part of the weights.
        expected = torch.stack([layer[0] for layer in out.cross_attentions]).mean((0, 1)).numpy()
        found = pair.ours.attention(source, [*target[1:], 0])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=tolerance(pair.ours, 1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG_CASES, ids=lambda case: case.name)
def test_thousands_of_tokens(case: Case, make_pair: Callable[[Case], Pair]) -> None:
    pair = make_pair(case)
    source, target = draw_ids(case, case.source_length, 5), draw_target(case, case.target_length, 5)
    check_logits(pair, source, target)
    n = 600  # beyond the window of 512
    ids = pair.ours.generate(source, max_new_tokens=n, min_new_tokens=n).token_ids
    recomputed = pair.ours.logits(source, [2, *ids[:-1]])
    recomputed[:, pair.theirs.generation_config.eos_token_id] = -np.inf
    assert recomputed.argmax(axis=-1).tolist() == ids


def without_end(ids: list[int], ends: list[int]) -> list[int]:
    return ids[:-1] if ids and ids[-1] in ends else ids
