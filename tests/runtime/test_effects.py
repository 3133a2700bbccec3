"""Options that change nothing are told, once, where the program asked for them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from t5g import _core, arguments, options

IDS = [5, 9, 200, 31]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every test as a new process would."""
    monkeypatch.setattr(arguments, "_told", set())


def told(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    for warning in caught:
        assert warning.category is t5g.T5gWarning
        assert warning.filename == __file__, "a warning must name the caller's line"
    return [str(warning.message) for warning in caught]


SAMPLING = {
    "top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 0, "typical_p": 0.9, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1,
}  # fmt: skip
BEAMS = {"length_penalty": 2.0, "early_stopping": True}


@pytest.mark.parametrize("name", SAMPLING)
def test_sampling_options_need_a_temperature(tiny_model: t5g.Model, name: str) -> None:
    given = {name: SAMPLING[name]}
    (message,) = told(lambda: tiny_model.generate(IDS, max_new_tokens=2, **given))
    assert message == f"{name} has no effect: the likeliest token is taken. Set temperature above 0 to sample."
    (message,) = told(lambda: tiny_model.generate(IDS, max_new_tokens=2, num_beams=2, **given))
    assert message.startswith(f"{name} has no effect: beam search does not sample.")
    assert not told(lambda: tiny_model.generate(IDS, max_new_tokens=2, temperature=0.5, **given))


@pytest.mark.parametrize("name", BEAMS)
def test_beam_options_need_beams(tiny_model: t5g.Model, name: str) -> None:
    given = {name: BEAMS[name]}
    for temperature in (0, 0.5):
        arguments._told.clear()
        (message,) = told(lambda t=temperature: tiny_model.generate(IDS, max_new_tokens=2, temperature=t, **given))
        assert message == f"{name} has no effect: there is no beam search. Set num_beams above 1 to have it."
    assert not told(lambda: tiny_model.generate(IDS, max_new_tokens=2, num_beams=2, **given))


def test_every_call_tells_and_each_combination_is_told_once(tiny_model: t5g.Model) -> None:
    def call() -> None:
        tiny_model.generate_batch([IDS], max_new_tokens=2, top_p=0.5, seed=3, length_penalty=2)

    assert told(call) == [
        "top_p and seed have no effect: the likeliest token is taken. Set temperature above 0 to sample.",
        "length_penalty has no effect: there is no beam search. Set num_beams above 1 to have it.",
    ]
    assert told(call) == []
    assert told(lambda: tiny_model.stream(IDS, top_k=3, top_p=0.5, min_p=0.2).close()) == [
        "top_k, top_p and min_p have no effect: the likeliest token is taken. Set temperature above 0 to sample."
    ]


def test_defaults_ask_for_nothing(tiny_model: t5g.Model) -> None:
    defaults = {name: row["default"] for name, row in options.table().items()}
    assert not told(lambda: tiny_model.generate(IDS, **{**defaults, "max_new_tokens": 2}))


def test_every_option_is_either_always_in_effect_or_known_here() -> None:
    """A new option must be thought about: what could make it idle."""
    always = {
        "max_new_tokens", "min_new_tokens", "temperature", "repetition_penalty", "no_repeat_ngram_size", "num_beams",
        "num_return_sequences", "draft", "encoder_repetition_penalty", "encoder_no_repeat_ngram_size", "logit_bias",
        "suppress_tokens", "bad_words", "forced_bos_token_id", "eos_token_ids", "alternatives", "logprobs", "timeout",
    }  # fmt: skip
    # num_return_sequences without sampling or beams is refused; draft is a promise that nothing changes.
    assert set(options.table()) == always | set(SAMPLING) | set(BEAMS)


def test_switches_for_what_is_not_there(tiny_model: t5g.Model) -> None:
    idle = "parse_special has no effect: there is no text, only token ids or an encoded source."
    assert told(lambda: tiny_model.encode(IDS, parse_special=True)) == [idle]
    arguments._told.clear()
    assert told(lambda: tiny_model.generate(IDS, max_new_tokens=1, parse_special=True)) == [idle]
    arguments._told.clear()
    assert told(lambda: tiny_model.score(IDS, [5], parse_special=True)) == [idle]
    arguments._told.clear()
    assert not told(lambda: tiny_model.encode("text", parse_special=True))
    assert not told(lambda: tiny_model.score(IDS, "text", parse_special=True))
    assert not told(lambda: tiny_model.generate(IDS, decoder_prefix="a", max_new_tokens=1, parse_special=True))
    assert told(lambda: tiny_model.logits("text", [2], pan_and_scan=True)) == [
        "pan_and_scan has no effect without images."
    ]


def test_a_window_that_the_family_has_not(tiny_path: Path) -> None:
    messages = told(lambda: t5g.Model(tiny_path, encoder_window="inclusive").close())
    if "v2" in tiny_path.name:
        assert messages == ["encoder_window has no effect on T5Gemma 2: only T5Gemma (the first) has two."]
    else:
        assert messages == []


def test_options_of_any_number_type(tiny_model: t5g.Model) -> None:
    expected = tiny_model.generate(IDS, temperature=0.5, top_k=5, seed=3, max_new_tokens=4).token_ids
    for integer in (np.int64, np.int32, np.uint8, np.array):
        for real in (np.float32, np.float64, np.float16, np.array):
            found = tiny_model.generate(
                IDS, temperature=real(0.5), top_k=integer(5), seed=integer(3), max_new_tokens=integer(4)
            )
            assert found.token_ids == expected
    beams = tiny_model.generate(IDS, num_beams=2, early_stopping=np.bool_(True), max_new_tokens=4).token_ids
    assert beams == tiny_model.generate(IDS, num_beams=2, early_stopping=True, max_new_tokens=4).token_ids


def test_the_table_of_types_is_complete() -> None:
    assert {row["type"] for row in _core.sampling.option_table()} <= {*options._TAKE, "draft"}
