"""What limits a text or a source in C: choices, masks of a callback, truncation; each as Python has it, bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support.c_library import AllowedCallback, Library, StatusError, TextCallback, ids_array

TEXT = "the quick brown fox jumps over the lazy dog"
CHOICES = ["the dog", "the lazy dog", "a fox", "quick", "quick brown", "the"]
MASK, ALL, STOP = 0, 1, 2
WAYS: list[dict[str, Any]] = [
    {},
    {"draft": 0, "repetition_penalty": 1.3},
    {"temperature": 1.5, "seed": 5, "num_return_sequences": 4},
    {"num_beams": 3, "num_return_sequences": 3},
]

Answer = Callable[[int, list[int], Any], int]


@pytest.fixture(scope="module")
def python(path: Path) -> Iterator[t5g.Model]:
    with t5g.Model(path) as model:
        yield model


def texts_array(texts: list[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def callback(answer: Answer) -> Any:
    """A callback that gets ids as a list and the mask as an array of words."""

    def ask(_: object, source: int, ids: int, n_ids: int, mask: int, n_words: int) -> int:
        given = list((ctypes.c_int32 * n_ids).from_address(ids)) if n_ids else []
        return answer(source, given, (ctypes.c_uint32 * n_words).from_address(mask))

    return AllowedCallback(ask)


def set_bits(mask: Any, ids: list[int]) -> int:
    for token in ids:
        mask[token // 32] |= 1 << token % 32
    return MASK


def written(lib: Library, model: int, source: int, **options: Any) -> tuple[list[Any], list[float]]:
    """Sequences, and the log-probabilities of all."""
    given = lib.options("generate", model, has_seed=int("seed" in options), **options)
    result = lib.make("generate", model, source, ctypes.byref(given))
    sequences, logprobs = lib.sequences(result), []
    for i in range(len(sequences)):
        logprob = ctypes.c_double()
        lib.result_get_logprob(result, i, ctypes.byref(logprob))
        logprobs.append(logprob.value)
    lib.result_free(result)
    return sequences, logprobs


def expected(out: t5g.Generation) -> tuple[list[Any], list[float]]:
    reasons = {"stop": 0, "length": 1, "cancelled": 2}
    return (
        [(sequence.text, sequence.token_ids, reasons[sequence.finish_reason]) for sequence in out.sequences],
        [sequence.logprob for sequence in out.sequences],
    )


def in_python(options: dict[str, Any]) -> dict[str, Any]:
    return options | ({"draft": "off"} if "draft" in options else {})


@pytest.mark.parametrize("options", WAYS)
def test_choices(lib: Library, model: int, python: t5g.Model, options: dict[str, Any]) -> None:
    texts = texts_array(CHOICES)
    source = lib.encode(model, TEXT)
    found = written(
        lib, model, source, max_new_tokens=16, choices=ctypes.addressof(texts), n_choices=len(texts), **options
    )
    assert found == expected(python.generate(TEXT, max_new_tokens=16, choices=CHOICES, **in_python(options)))
    assert all(text.startswith(tuple(CHOICES)) for text, _, _ in found[0])  # the end token of some models is a text
    lib.source_free(source)


@pytest.mark.parametrize("options", WAYS)
def test_masks_of_a_callback(lib: Library, model: int, python: t5g.Model, options: dict[str, Any]) -> None:
    size = python.config.vocab_size

    def allowed(ids: list[int]) -> list[int]:
        return [token for token in range(size) if (token + len(ids)) % 3 == 0]

    ask = callback(lambda _, ids, mask: set_bits(mask, allowed(ids)))
    source = lib.encode(model, TEXT)
    found = written(lib, model, source, max_new_tokens=12, allowed_tokens=ask, **options)
    assert found == expected(python.generate(TEXT, max_new_tokens=12, allowed_tokens=allowed, **in_python(options)))
    lib.source_free(source)


def test_a_mask_of_everything_limits_nothing(lib: Library, model: int, python: t5g.Model) -> None:
    def all_bits(_: int, ids: list[int], mask: Any) -> int:
        ctypes.memset(mask, 255, ctypes.sizeof(mask))  # bits beyond the vocabulary too
        return MASK

    source = lib.encode(model, TEXT)
    plain = expected(python.generate(TEXT, max_new_tokens=12))
    for answer in (all_bits, lambda *_: ALL):
        ask = callback(answer)
        assert written(lib, model, source, max_new_tokens=12, allowed_tokens=ask) == plain
    sampled = python.generate(TEXT, max_new_tokens=12, temperature=5.0, seed=1)
    ask = callback(all_bits)
    found = written(lib, model, source, max_new_tokens=12, allowed_tokens=ask, temperature=5.0, seed=1)
    assert found == expected(sampled)
    lib.source_free(source)


def test_a_regular_expression_through_the_mask(lib: Library, model: int, python: t5g.Model) -> None:
    pytest.importorskip("llguidance")
    from t5g import grammars

    walk = grammars.compiled("regex", "(the|a) [a-z]{3,6}", python).begin(list(python.config.eos_token_id), False)

    def follow(_: int, ids: list[int], mask: Any) -> int:
        answer = walk.after(ids, ctypes.addressof(mask), ctypes.sizeof(mask))
        return MASK if isinstance(answer, bool) else set_bits(mask, answer)

    source = lib.encode(model, TEXT)
    found = written(lib, model, source, max_new_tokens=16, allowed_tokens=(ask := callback(follow)), draft=0)
    assert ask
    assert found == expected(python.generate(TEXT, max_new_tokens=16, regex="(the|a) [a-z]{3,6}", draft="off"))
    lib.source_free(source)


def test_a_batch_tells_whose_tokens_are_asked_for(lib: Library, model: int) -> None:
    sources = [lib.encode(model, text) for text in ("the dog", "a fox", "quick")]
    ask = callback(lambda source, _, mask: set_bits(mask, [100 + source]))
    options = lib.options("generate", model, max_new_tokens=3, allowed_tokens=ask)
    results = (ctypes.c_void_p * 3)()
    lib.generate_batch(model, (ctypes.c_void_p * 3)(*sources), 3, ctypes.byref(options), results)
    found = [lib.sequences(result)[0][1] for result in results if result]
    assert found == [[100] * 3, [101] * 3, [102] * 3]
    for result, source in zip(results, sources, strict=True):
        lib.result_free(result)
        lib.source_free(source)


def test_a_callback_can_stop_the_text(lib: Library, model: int, python: t5g.Model) -> None:
    pieces: list[str] = []
    (token, *_) = python.tokenizer.encode("the", add_special_tokens=False)
    source = lib.encode(model, TEXT)
    ask = callback(lambda _, ids, mask: STOP if len(ids) == 2 else set_bits(mask, [token]))
    on_text = TextCallback(lambda _, __, text, size: pieces.append(ctypes.string_at(text, size).decode()) or 0)
    (sequence,), _ = written(lib, model, source, max_new_tokens=9, allowed_tokens=ask, on_text=on_text)
    assert sequence[1:] == ([token, token], 2)
    assert "".join(pieces) == sequence[0]
    lib.source_free(source)


def test_limits_that_are_none(lib: Library, model: int) -> None:
    source = lib.encode(model, TEXT)
    one, empty, broken = texts_array(["a"]), texts_array(["a", ""]), (ctypes.c_char_p * 1)(b"\xff")
    ask, nothing, other = callback(lambda *_: ALL), callback(lambda *_: MASK), callback(lambda *_: 3)
    for options, words in (
        ({"n_choices": 1}, "choices: is NULL"),
        ({"n_choices": 2**40, "choices": ctypes.addressof(one)}, "n_choices: is 1099511627776, expected at most"),
        ({"n_choices": 2, "choices": ctypes.addressof(empty)}, r"choices\[1\]: must be a text of one character"),
        ({"n_choices": 1, "choices": ctypes.addressof(broken)}, r"choices\[0\]: is not UTF-8"),
        ({"n_choices": 1, "choices": ctypes.addressof(one), "allowed_tokens": ask}, "beside allowed_tokens"),
        ({"allowed_tokens": other}, "must return one of the constants of t5g.h, returned 3"),
        ({"allowed_tokens": nothing}, "every token is banned"),
    ):
        with pytest.raises(StatusError, match=words) as info:
            written(lib, model, source, **options)
        assert info.value.status in ("T5G_INVALID_ARGUMENT", "T5G_ERROR"), words
    null = (ctypes.c_char_p * 1)(None)
    with pytest.raises(StatusError, match=r"choices\[0\]: is NULL"):
        written(lib, model, source, n_choices=1, choices=ctypes.addressof(null))
    lib.source_free(source)


# ---- Truncation ----


@pytest.mark.parametrize("limit", [1, 2, 5, 9])
def test_sources_are_cut_as_in_python(lib: Library, path: Path, limit: int) -> None:
    options = lib.options("model", max_source_tokens=limit)
    model = lib.make("model_open", str(path).encode(), ctypes.byref(options))
    with t5g.Model(path, max_source_tokens=limit) as python:
        ids = python.tokenizer.encode(TEXT)
        for number, word in enumerate(("end", "start", "middle"), 1):
            cut = lib.options("encode", truncation=number)
            data = TEXT.encode()
            for given, source in (
                (TEXT, lib.make("encode_text", model, data, len(data), ctypes.byref(cut))),
                (ids, lib.make("encode_ids", model, ids_array(ids), len(ids), ctypes.byref(cut))),
            ):
                want = python.encode(given, truncation=word)  # type: ignore[arg-type]
                kept = lib.take_source_ids(source)
                n = ctypes.c_size_t()
                lib.source_get_n_truncated(source, ctypes.byref(n))
                assert (kept, n.value) == (want.token_ids, want.n_truncated)
                assert n.value == len(ids) - limit > 0
                lib.source_free(source)
        with pytest.raises(StatusError, match="T5G_INPUT_TOO_LONG"):
            lib.encode(model, TEXT)
    lib.model_free(model)


def test_what_is_short_enough_or_has_images_is_not_cut(lib: Library, model: int, python: t5g.Model) -> None:
    cut = lib.options("encode", truncation=1)
    source = lib.make("encode_text", model, b"a", 1, ctypes.byref(cut))
    n = ctypes.c_size_t(7)
    lib.source_get_n_truncated(source, ctypes.byref(n))
    assert n.value == 0
    lib.source_free(source)
    with pytest.raises(StatusError, match="T5G_INVALID_ARGUMENT: truncation: must be one of the constants"):
        lib.make("encode_text", model, b"a", 1, ctypes.byref(lib.options("encode", truncation=4)))
    if python.config.vision is None:
        return
    pixels = np.zeros((4, 4, 3), np.uint8)
    image = np.array([pixels.ctypes.data, 4, 4, 0], np.int64)
    cut = lib.options("encode", truncation=1, images=image.ctypes.data, n_images=1)
    long = b"<start_of_image>" + b" the dog" * python.max_source_tokens
    with pytest.raises(StatusError, match="T5G_INPUT_TOO_LONG"):
        lib.make("encode_text", model, long, len(long), ctypes.byref(cut))
