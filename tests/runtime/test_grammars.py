"""regex=, json_schema= and grammar=: whatever is written is in the language, however it is searched for."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import t5g
from support import grammars

pytest.importorskip("llguidance")
pytest.importorskip("jsonschema")

SOURCE = "tar is an archiving program for files. It can compress them, too."
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> Iterator[t5g.Model]:
    with t5g.Model() as model:
        yield model


# What is asked for, and whether a text is that.
LANGUAGES: dict[str, tuple[dict[str, Any], Any]] = {
    "regex": ({"regex": r"[a-z]{3,8}( [0-9]{2}){1,3}"}, lambda t: grammars.matches(r"[a-z]{3,8}( [0-9]{2}){1,3}", t)),
    "schema": ({"json_schema": PERSON}, lambda t: grammars.is_valid(PERSON, t)),
    "lark": (
        {"grammar": 'start: "(" start ")" | WORD\nWORD: /[a-z]{1,4}/'},
        lambda t: t.count("(") == t.count(")") and t.strip("()").isalpha(),
    ),
}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy without drafts": {"draft": "off"},
    "sampling": {"temperature": 1.0, "num_return_sequences": 4, "seed": 1},
    "top_k": {"temperature": 1.5, "top_k": 5, "num_return_sequences": 4, "seed": 2},
    "top_p and others": {"temperature": 1.0, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9, "seed": 3},
    "beams": {"num_beams": 4, "num_return_sequences": 4},
    "penalties": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 4, "encoder_repetition_penalty": 1.3},
    "biases and bans": {"logit_bias": {9: 5.0}, "suppress_tokens": [10, 11], "bad_words": ["the"]},
    "log-probabilities": {"logprobs": 3},
    "alternatives": {"alternatives": 3},
    "prefix": {"decoder_prefix": "It is "},
}


def check(out: t5g.Generation, is_right: Any) -> None:
    for sequence in out.sequences:
        if sequence.finish_reason != "length":
            assert sequence.finish_reason == "stop"
            assert is_right(sequence.text), sequence.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_whatever_is_written_is_in_the_language(model: t5g.Model, language: str, way: str) -> None:
    constraint, is_right = LANGUAGES[language]
    check(model.generate(SOURCE, max_new_tokens=60, **constraint, **WAYS[way]), is_right)


@pytest.mark.parametrize("language", LANGUAGES)
def test_batches_streams_and_single_calls_agree(model: t5g.Model, language: str) -> None:
    constraint, is_right = LANGUAGES[language]
    sources = [SOURCE, "a web server", "x", "an editor for plain text"] * 2
    for options in ({}, {"temperature": 1.0, "seed": 5}, {"num_beams": 3}):
        alone = [model.generate(s, max_new_tokens=40, **constraint, **options) for s in sources]
        together = model.generate_batch(sources, max_new_tokens=40, max_batch_size=5, **constraint, **options)
        assert [(o.token_ids, o.logprob) for o in alone] == [(o.token_ids, o.logprob) for o in together]
        for out in alone:
            check(out, is_right)
        assert "".join(model.stream(SOURCE, max_new_tokens=40, **constraint, **options)) == alone[0].text


def test_drafts_and_forced_tokens_change_nothing_but_the_number_of_steps(model: t5g.Model) -> None:
    """The log-probabilities are those of scoring the same tokens, so nothing that was skipped was different."""
    for constraint, _ in LANGUAGES.values():
        out = model.generate(SOURCE, max_new_tokens=40, **constraint)
        assert out.token_ids == model.generate(SOURCE, max_new_tokens=40, draft="off", **constraint).token_ids
        assert out.token_logprobs == model.score(SOURCE, out.token_ids).token_logprobs.tolist()


def test_json_is_compact_unless_the_schema_says_otherwise(model: t5g.Model) -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["a", "b"],
              "additionalProperties": False}  # fmt: skip
    assert model.generate(SOURCE, json_schema=schema).text == '{"a":1,"b":2}'
    spaced = schema | {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
    assert model.generate(SOURCE, json_schema=spaced).text == '{"a": 1, "b": 2}'
    assert model.generate(SOURCE, json_schema=json.dumps(schema)).text == '{"a":1,"b":2}'


def test_a_class_of_pydantics_is_its_schema(model: t5g.Model) -> None:
    class Answer:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": {"ok": {"const": True}}, "required": ["ok"],
                    "additionalProperties": False}  # fmt: skip

    assert json.loads(model.generate(SOURCE, json_schema=Answer).text) == {"ok": True}


def test_a_stop_string_and_an_early_end(model: t5g.Model) -> None:
    out = model.generate(SOURCE, regex="ab,cd", stop=",")
    assert (out.text, out.finish_reason) == ("ab", "stop")
    assert model.generate(SOURCE, regex="[a-z]{50}", max_new_tokens=2).finish_reason == "length"
    out = model.generate(SOURCE, regex="a?")
    assert (out.text in ("", "a"), out.finish_reason) == (True, "stop")


def test_other_end_tokens(model: t5g.Model) -> None:
    ends = [50, 51]
    out = model.generate(SOURCE, regex="ab", eos_token_ids=ends)
    assert (out.text.startswith("ab"), out.token_ids[-1] in ends, out.finish_reason) == (True, True, "stop")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regex": "("}, "regex: cannot be used: "),
        ({"regex": 5}, "regex: must be a str, got 5"),
        ({"grammar": "nonsense"}, "grammar: cannot be used: "),
        ({"grammar": "start: a\na: b\nb: a"}, "grammar: cannot be used: no text fits it, however long"),
        ({"json_schema": "{"}, "json_schema: is not JSON: "),
        ({"json_schema": {"type": "colour"}}, "json_schema: cannot be used: "),
        ({"json_schema": 3}, "json_schema: must be a dict, or a str of JSON, got 3"),
        ({"json_schema": {"type": object()}}, "json_schema: is not JSON: "),
        ({"regex": "a", "grammar": "b"}, "regex and grammar: a text has one of them at a time"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(model: t5g.Model, given: Any, message: str) -> None:
    with pytest.raises((t5g.InvalidArgumentError, t5g.ArgumentTypeError)) as caught:
        model.generate(SOURCE, **given)
    assert str(caught.value).startswith(message)


def test_without_the_package_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['llguidance'] = None; import t5g\n"
        "try: t5g.Model().generate('a', regex='b')\n"
        "except ImportError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "regex: needs the package llguidance. Install it with: pip install 't5g[grammar]'\n"


def test_threads_with_grammars_of_their_own(model: t5g.Model) -> None:
    texts: dict[int, str] = {}

    def run(i: int) -> None:
        texts[i] = model.generate(SOURCE, regex=f"{i}[a-z]{{5}}", temperature=1.0, seed=i).text

    threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(grammars.matches(f"{i}[a-z]{{5}}", text) for i, text in texts.items())
    assert len(texts) == 6


def violations(model: t5g.Model, seeds: range) -> list[Any]:
    found: list[Any] = []
    n_written = 0
    for seed in seeds:
        if seed % 2:
            language: Any = grammars.regex(seed)
            constraint, is_right = {"regex": language}, grammars.matches
        else:
            language = grammars.schema(seed)
            constraint, is_right = {"json_schema": language}, grammars.is_valid
        # A schema that nothing satisfies, or with what llguidance lacks, is refused.
        with contextlib.suppress(t5g.InvalidArgumentError):
            out = model.generate("a b c", temperature=1.0, seed=seed, max_new_tokens=80, **constraint)
            n_written += 1
            if out.finish_reason != "length" and not is_right(language, out.text):
                found.append((seed, language, out.text))
    assert n_written > 0.9 * len(seeds)
    return found


def test_random_languages_at_temperature_1(model: t5g.Model) -> None:
    assert violations(model, range(200)) == []


@pytest.mark.slow
def test_a_thousand_random_languages(model: t5g.Model) -> None:
    assert violations(model, range(1000, 2000)) == []
