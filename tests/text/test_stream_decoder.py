"""Streaming: whole characters only, nothing lost, the same text as decoding at once."""

from __future__ import annotations

import gc
import random

import pytest
import t5g
from support.testing_module import StreamDecoder
from support.toy_vocabulary import BOS, arrays

TOY = arrays()


@pytest.fixture(scope="module")
def toy():
    return TOY.tokenizer()


def byte_ids(toy, text):
    """The byte pieces that spell a text."""
    return [toy.find(f"<0x{byte:02X}>") for byte in text.encode()]


def test_text_comes_as_soon_as_it_is_certain(toy):
    decoder = StreamDecoder(toy)
    assert decoder.push(toy.find("▁abc")) == " abc"
    assert [decoder.push(i) for i in byte_ids(toy, "😀")] == [""] * 4
    assert decoder.push(toy.find("b")) == "😀b"
    assert decoder.finish() == ""


def test_finish_gives_what_was_held_back_and_starts_anew(toy):
    decoder = StreamDecoder(toy)
    for i in byte_ids(toy, "ñ"):
        assert decoder.push(i) == ""
    assert decoder.finish() == "ñ"
    assert decoder.finish() == ""
    assert decoder.push(byte_ids(toy, "ñ")[0]) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.push(toy.find("a")) == "a"


def test_skipped_tokens_hold_nothing_back(toy):
    decoder = StreamDecoder(toy)
    first, second = byte_ids(toy, "ñ")
    assert [decoder.push(i) for i in (first, BOS, second, BOS)] == [""] * 4
    assert decoder.push(toy.find("a")) == "ña"
    assert StreamDecoder(toy, skip_special_tokens=False).push(BOS) == "<bos>"


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_any_ids_stream_to_what_they_decode_to(toy, seed, skip):
    rng = random.Random(seed)
    bytes_ = byte_ids(toy, "ñ😀€a") + byte_ids(toy, "\0")
    for _ in range(50):
        ids = [rng.choice((rng.randrange(toy.vocab_size), rng.choice(bytes_))) for _ in range(rng.randint(0, 30))]
        decoder = StreamDecoder(toy, skip_special_tokens=skip)
        parts = [decoder.push(i) for i in ids] + [decoder.finish()]
        assert "".join(parts) == toy.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("token_id", [-1, len(TOY.pieces)])
def test_an_id_outside_the_vocabulary_is_an_error_and_changes_nothing(toy, token_id):
    decoder = StreamDecoder(toy)
    first, second = byte_ids(toy, "ñ")
    decoder.push(first)
    with pytest.raises(t5g.InvalidArgumentError, match="outside the vocabulary"):
        decoder.push(token_id)
    decoder.push(second)
    assert decoder.finish() == "ñ"


def test_keeps_its_tokenizer_alive():
    decoder = StreamDecoder(TOY.tokenizer())
    gc.collect()
    assert decoder.push(TOY.pieces.index("a")) == "a"
