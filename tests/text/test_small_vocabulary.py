"""A learnt vocabulary: the ids of sentencepiece, committed and live, and what must hold of any text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_vocabulary
from support.sentencepiece_model import processor
from support.texts import SPECIAL, broken_utf8, library_code, mixtures

VOCABULARY = small_vocabulary.vocabulary()
TOKENIZER = VOCABULARY.tokenizer(prefix_ids=[])
# Pieces and bits of pieces, so that random text runs into the rules.
FRAGMENTS = st.sampled_from([*SPECIAL, *VOCABULARY.pieces, " ", "  ", "<", "é", "\0", "\u2581"])
TEXT = st.lists(FRAGMENTS | st.text(max_size=5), max_size=20).map("".join)


@pytest.mark.parametrize("golden", small_vocabulary.goldens(), ids=lambda golden: repr(golden["text"])[:30])
def test_ids_are_those_of_sentencepiece(golden):
    assert TOKENIZER.encode(golden["text"]) == golden["ids"]
    if "ids_with_special" in golden:
        assert TOKENIZER.encode(golden["text"], parse_special=True) == golden["ids_with_special"]


@pytest.mark.oracle
@pytest.mark.parametrize("special", [False, True])
def test_ids_are_those_of_sentencepiece_live(special):
    pytest.importorskip("sentencepiece")
    oracle = processor(VOCABULARY, match_control=special)
    rng = random.Random(1)
    # sentencepiece matches no pad, eos, bos and unk, whatever it is told.
    texts = [
        *library_code(rng, 1000),
        *mixtures(rng, 4000, SPECIAL[4:] if special else SPECIAL),
        *broken_utf8(rng, 2000),
    ]
    for text in texts:
        assert TOKENIZER.encode(text, parse_special=special) == oracle.encode(text), text


@given(TEXT)
def test_decoding_gives_the_text_back(text):
    expected = text.replace("\u2581", " ")
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == expected
    assert TOKENIZER.decode(TOKENIZER.encode(text, parse_special=True), skip_special_tokens=False) == expected


@given(st.binary(max_size=100) | st.lists(st.binary(max_size=3) | TEXT.map(str.encode), max_size=10).map(b"".join))
def test_any_bytes_are_a_text(data):
    # Python's decoder replaces a cut character once; the tokenizer, as sentencepiece, every byte of it.
    expected = data.decode("utf-8", "surrogateescape").translate({i: "\ufffd" for i in range(0xDC80, 0xDD00)})
    assert TOKENIZER.decode(TOKENIZER.encode(data)) == expected.replace("\u2581", " ")


@given(TEXT, TEXT)
def test_text_after_a_line_break_does_not_change_what_is_before(first, second):
    whole = TOKENIZER.encode(first.rstrip("\n") + "\n" + second.lstrip("\n"))
    assert whole == TOKENIZER.encode(first.rstrip("\n")) + TOKENIZER.encode("\n") + TOKENIZER.encode(
        second.lstrip("\n")
    )


IDS = st.integers(0, TOKENIZER.vocab_size - 1)
BYTES = st.sampled_from([i for i, piece in enumerate(VOCABULARY.pieces) if piece.startswith("<0x")])


@given(st.lists(IDS | BYTES | TEXT.map(TOKENIZER.encode), max_size=20), st.booleans())
def test_streaming_gives_the_text_of_decoding(parts, skip):
    from support.testing_module import StreamDecoder

    ids = [i for part in parts for i in ([part] if isinstance(part, int) else part)]
    decoder = StreamDecoder(TOKENIZER, skip_special_tokens=skip)
    pieces = [decoder.push(i) for i in ids]
    assert "".join([*pieces, decoder.finish()]) == TOKENIZER.decode(ids, skip_special_tokens=skip)


LONG = 1_000_000
MEAN = [
    "a",
    " ",
    "\n",
    "<",
    "<unused",
    "😀",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "ab",
    " a",
    "▁",
    "\0",
    "河",
    "[multimodal",
    "\t ",
    "a\n",
    "=-",
]


@pytest.mark.parametrize("unit", MEAN)
def test_a_long_text_is_not_slow(unit):
    # A quadratic algorithm would take hours; no time is asserted, the suite's patience is.
    text = unit * (LONG // len(unit.encode()))
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text.replace("▁", " ")
