"""The options: defaults, ranges, and errors that name what is wrong."""

import re

import pytest
from t5g import _core
from t5g._core import sampling


def test_defaults_are_those_of_the_interface():
    assert {row["name"]: row["default"] for row in sampling.option_table()} == {
        "max_new_tokens": 256, "min_new_tokens": 0, "seed": None, "temperature": 0.0, "top_k": 0, "top_p": 1.0,
        "min_p": 0.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "num_beams": 1, "length_penalty": 1.0,
        "early_stopping": False, "num_return_sequences": 1, "draft": "source", "typical_p": 1.0, "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0, "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "logit_bias": {},
        "suppress_tokens": [], "bad_words": [], "forced_bos_token_id": None, "eos_token_ids": [], "alternatives": 0,
        "logprobs": 0, "timeout": 0.0,
    }  # fmt: skip


def test_every_option_is_read_back_as_given():
    given = {
        "max_new_tokens": 9, "min_new_tokens": 2, "seed": 2**64 - 1, "temperature": 0.0, "top_k": 3, "top_p": 0.25,
        "min_p": 0.5, "repetition_penalty": 1.5, "no_repeat_ngram_size": 4, "num_beams": 5, "length_penalty": -2.0,
        "early_stopping": "never", "num_return_sequences": 4, "draft": "off", "typical_p": 0.5, "epsilon_cutoff": 0.25,
        "eta_cutoff": 0.125, "encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 3,
        "logit_bias": {3: -1.5, 7: float("-inf")}, "suppress_tokens": [3], "bad_words": [[4], [5, 6]],
        "forced_bos_token_id": 8, "eos_token_ids": [1, 107], "logprobs": 5, "timeout": 2.5,
    }  # fmt: skip
    config = sampling.GenerationConfig(**given)
    assert {name: getattr(config, name) for name in given} == given
    assert sampling.GenerationConfig(alternatives=3).alternatives == 3


NUMBERS = [row for row in sampling.option_table() if row["type"] in ("int", "float")]


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row["name"])
def test_numbers_outside_their_range_are_refused(row):
    step = 1 if row["type"] == "int" else 1e-6
    wrong = [row["min"] if row["min_excluded"] else row["min"] - max(step, abs(row["min"]) * 1e-6)]
    wrong.append(row["max"] + max(step, row["max"] * 1e-6))
    if row["type"] == "int":
        wrong = [int(value) for value in wrong]
    else:
        wrong += [float("nan"), float("inf"), float("-inf")]
    for value in wrong:
        with pytest.raises(_core.InvalidArgumentError, match=f"^{row['name']}: must be .*, got "):
            sampling.GenerationConfig(**{row["name"]: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 1.5}, "top_p: must be at least 0 and at most 1, got 1.5."),
        ({"repetition_penalty": 0}, "repetition_penalty: must be more than 0 and finite, got 0."),
        ({"temperature": 1e308}, "temperature: must be at least 0 and at most 3.402823466e+38, got 1e+308."),
        ({"max_new_tokens": 0}, "max_new_tokens: must be at least 1, got 0."),
        ({"length_penalty": float("inf")}, "length_penalty: must be finite, got inf."),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens: must be at most max_new_tokens = 8, got 9."),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences: must be at most num_beams = 2, got 3."),
        ({"num_return_sequences": 2}, "num_return_sequences: greedy decoding finds one sequence, got 2."),
        ({"num_beams": 2, "temperature": 0.5}, "num_beams: beam search does not sample"),
        ({"early_stopping": "always"}, "early_stopping: must be True, False or \"never\", got 'always'."),
        ({"draft": "model"}, 'draft: must be "source" or "off", got \'model\'.'),
        ({"draft": None}, 'draft: must be "source" or "off", got None.'),
        ({"seed": -1}, "seed: must be None or an integer from 0 to 2^64 - 1, got -1."),
        ({"eos_token_ids": [1, -5]}, "eos_token_ids: token ids are never negative, got -5."),
        ({"suppress_tokens": [-1]}, "suppress_tokens: token ids are never negative, got -1."),
        ({"bad_words": [[1], []]}, "bad_words: has an empty one, which is in every text."),
        ({"bad_words": [[1, -1]]}, "bad_words: token ids are never negative, got -1."),
        ({"forced_bos_token_id": -2}, "forced_bos_token_id: token ids are never negative, got -2."),
        ({"logit_bias": {3: float("inf")}}, "logit_bias: a bias must be finite, or -infinity, got inf for token 3."),
        ({"logit_bias": {3: float("nan")}}, "logit_bias: a bias must be finite, or -infinity, got nan for token 3."),
        ({"alternatives": 2, "num_beams": 2}, "alternatives: their first tokens are the likeliest ones"),
    ],
)
def test_messages_name_option_range_and_value(options, message):
    with pytest.raises(_core.InvalidArgumentError, match="^" + re.escape(message)):
        sampling.GenerationConfig(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": "a"},
        {"top_k": 1.5},
        {"temperature": None},
        {"seed": "x"},
        {"top_q": 1},
        {"logit_bias": [1]},
        {"bad_words": ["a"]},
        {"forced_bos_token_id": "a"},
    ],
)
def test_wrong_types_and_unknown_names_are_type_errors(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        sampling.GenerationConfig(**options)


def test_several_samples_and_several_beams_are_accepted():
    assert sampling.GenerationConfig(temperature=0.7, num_return_sequences=3).num_return_sequences == 3
    assert sampling.GenerationConfig(num_beams=3, num_return_sequences=3).num_return_sequences == 3
