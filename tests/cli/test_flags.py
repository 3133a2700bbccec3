"""What the library says of its arguments, told of a command's flags."""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import pytest
import t5g
from t5g import options
from t5g._core import sampling
from t5g.cli import _flags, embed
from t5g.cli.run import _parser
from t5g.messages import Argument, Part, listed, spelled, to_give, told

RUN = _parser()._option_string_actions
EMBED = embed._parser()._option_string_actions


def in_flags(*parts: Part, flags: Iterable[str] = RUN) -> str:
    return spelled(told(ValueError, *parts), _flags.spelling(flags))


def test_arguments_become_flags() -> None:
    limit = Argument("max_new_tokens")
    assert in_flags(limit, ": must be at least 1, got 0.") == "--max-new-tokens: must be at least 1, got 0."
    assert in_flags("Cut it with ", to_give("truncation"), "; nothing is cut.") == (
        "Cut it with --truncation; nothing is cut."
    )
    assert in_flags("got ", Argument("num_beams"), " = 3 with ", Argument("temperature"), " = 0.5.") == (
        "got --num-beams = 3 with --temp = 0.5."
    )
    assert in_flags(Argument("choices[1]"), ": must be a text") == "--choice[1]: must be a text"
    assert (
        in_flags(*listed(["top_k", "top_p", "seed"]), " have no effect") == "--top-k, --top-p and --seed have no effect"
    )


@pytest.mark.parametrize("words", ["max_new_tokens.gguf: no such file.", "got num_beams = 3", "truncation="])
def test_words_that_name_no_argument_stay(words: str) -> None:
    assert in_flags(words) == words
    assert in_flags(Argument("image (seed.png)"), ": not an image.") == "image (seed.png): not an image."


def test_only_flags_that_a_command_has_are_named() -> None:
    parts = (to_give("max_source_tokens"), " and ", to_give("max_target_tokens"), " set other limits")
    assert in_flags(*parts, flags=EMBED) == "--max-source-tokens and max_target_tokens= set other limits"


def test_errors_of_the_native_module_name_their_arguments() -> None:
    with pytest.raises(ValueError, match="num_beams = 2 with temperature = 1") as beams:
        sampling.GenerationConfig(num_beams=2, temperature=1.0)
    assert _parser().describe(beams.value) == (
        "--num-beams: beam search does not sample, got --num-beams = 2 with --temp = 1. Set one of them to its default."
    )
    with pytest.raises(t5g.UnsupportedError, match="Use device='cpu' or 'auto'") as device:
        t5g.Model(device="metal")
    assert "Use --device cpu or 'auto'." in _parser().describe(device.value)
    assert _flags.at_fault(beams.value, RUN) == "--num-beams"
    copied = pickle.loads(pickle.dumps(beams.value))  # as between processes
    assert _parser().describe(copied) == _parser().describe(beams.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--temperature", "1", "--top-k=3"], ["--temp", "1", "--top-k=3"]),
        (
            ["--repetition-penalty=1.2", "--no-repeat-ngram-size", "3"],
            ["--repeat-penalty=1.2", "--no-repeat-ngram", "3"],
        ),
        (["--choices", "a", "--bad-words", "b"], ["--choice", "a", "--bad-word", "b"]),
        (["--forced-bos-token-id", "7", "--eos-token-ids=1,2"], ["--forced-bos", "7", "--eos-token=1,2"]),
        (["--adapters", "x", "--scale", "2"], ["--adapters", "x", "--scale", "2"]),
        (["-p", "a", "--", "--temperature"], ["-p", "a", "--", "--temperature"]),
    ],
)
def test_the_librarys_names_are_flags_too(given: list[str], meant: list[str]) -> None:
    assert _flags.in_own_spelling(given, RUN) == meant


def test_every_option_of_generation_is_a_flag_under_its_own_name() -> None:
    elsewhere = {"allowed_tokens", "json_schema", "grammar", "regex"}  # a function; those that are flags as they are
    for name in set(options.names()) - elsewhere:
        (flag,) = _flags.in_own_spelling([f"--{name.replace('_', '-')}"], RUN)
        assert flag in RUN, name


@pytest.mark.parametrize(
    ("unknown", "advice"),
    [
        ("--temperature", "Did you mean --temp?"),
        ("--repetition-penalty=1.2", "Did you mean --repeat-penalty?"),
        ("--top_k", "Did you mean --top-k?"),
        ("--promt", "Did you mean --prompt?"),
        ("--max-length", "Write --max-new-tokens: it counts the generated tokens alone."),
        ("--n-predict", "Write --max-new-tokens"),
        ("--frobnicate", None),
    ],
)
def test_unknown_flags_are_answered_with_the_right_one(unknown: str, advice: str | None) -> None:
    assert _flags.advice(unknown, RUN) == advice
