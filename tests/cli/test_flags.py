"""What the library says of its arguments, told of a command's flags."""

from __future__ import annotations

import pytest
import t5g
from t5g import options
from t5g.cli import _flags, embed
from t5g.cli.run import _parser

RUN = _parser()._option_string_actions
EMBED = embed._parser()._option_string_actions


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("max_new_tokens: must be at least 1, got 0.", "--max-new-tokens: must be at least 1, got 0."),
        ("n_threads: is 0. None takes the default.", "--threads: is 0. Leave it out for the default."),
        ("Cut it with truncation=; nothing is cut.", "Cut it with --truncation; nothing is cut."),
        ("max_source_tokens= and others", "--max-source-tokens and others"),
        ("got num_beams = 3 with temperature = 0.5.", "got --num-beams = 3 with --temp = 0.5."),
        ("eos_token_ids: token 9 is outside", "--eos-token: token 9 is outside"),
        ("images: this file has no vision tower.", "--image: this file has no vision tower."),
        ("regex: cannot be used: at 1(8)", "--regex: cannot be used: at 1(8)"),
    ],
)  # fmt: skip
def test_arguments_become_flags(said: str, told: str) -> None:
    assert _flags.in_flags(said, RUN) == told


@pytest.mark.parametrize(
    "message",
    [
        "max_new_tokens.gguf: no such file.",
        "/data/num_beams/top_k.gguf: no such file.",
        "my-top_k: no such file.",
        "device 'cuda': there is none.",
        "the temperature of the room",
        "image (seed.png): not an image.",
        "enc.blk.0.attn_q: has another shape.",
    ],
)
def test_what_is_no_argument_stays(message: str) -> None:
    assert _flags.in_flags(message, RUN) == message


def test_names_of_files_stay_whatever_stands_in_them() -> None:
    parser = _parser()
    missing = FileNotFoundError(2, "No such file or directory", "top_k=5.txt")
    assert parser.describe(missing) == "top_k=5.txt: No such file or directory"
    assert parser.describe(t5g.ModelFormatError("num_beams=4.gguf: is empty.")) == "num_beams=4.gguf: is empty."
    assert parser.describe(ValueError("num_beams=4")) == "--num-beams=4"


def test_only_flags_that_a_command_has_are_named() -> None:
    message = "max_source_tokens= and max_target_tokens= set other limits; temperature = 1"
    assert (
        _flags.in_flags(message, EMBED)
        == "--max-source-tokens and max_target_tokens= set other limits; temperature = 1"
    )


def test_warnings_are_about_arguments_wherever_they_name_them() -> None:
    message = "top_k has no effect: the likeliest token is taken. Set temperature above 0 to sample."
    assert _flags.in_flags(message, RUN, also_words=True) == message.replace("top_k", "--top-k").replace(
        "temperature", "--temp"
    )


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
