"""Gemma 3's own vocabulary of 262,144 pieces: the ids and texts of sentencepiece and of Hugging Face's tokenizers."""

from __future__ import annotations

import json
import random

import pytest
from support import gemma3
from support.sentencepiece_model import processor
from support.texts import CODE, ODD, SENTENCES, SPACE_MARK, SPECIAL, broken_utf8, library_code, mixtures, translations

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
N_TEXTS = 100_000
BATCH = 5_000  # texts compared at a time, so that memory stays small


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return gemma3.vocabulary(gemma3.gguf_file(tmp_path_factory.mktemp("gemma3")))


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return vocabulary.tokenizer()


@pytest.fixture(scope="module")
def hugging_face():
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_file(str(gemma3.tokenizer_json()))


@pytest.fixture(scope="module")
def texts():
    """At least N_TEXTS different strings: as many real ones as the machine has, the rest mixtures."""
    rng = random.Random(3)
    found = dict.fromkeys((*SENTENCES, *CODE, *ODD, *library_code(rng, 20_000), *translations(rng, 60_000)))
    found |= dict.fromkeys(mixtures(rng, 30_000, SPECIAL))
    while len(found) < N_TEXTS:
        found |= dict.fromkeys(mixtures(rng, 10_000, SPECIAL))
    return list(found)


def batches(texts):
    return [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]


@pytest.mark.parametrize("special", [False, True])
def test_ids_are_those_of_sentencepiece(vocabulary, tokenizer, texts, special):
    pytest.importorskip("sentencepiece")
    oracle = processor(vocabulary, match_control=special)
    rng = random.Random(4)
    # sentencepiece matches no pad, eos, bos and unk, whatever it is told.
    texts = [text for text in texts if not special or not any(piece in text for piece in SPECIAL[:4])]
    for batch in batches([*texts, *broken_utf8(rng, 10_000)]):
        for text, expected in zip(batch, oracle.encode(batch), strict=True):
            assert tokenizer.encode(text, add_special_tokens=False, parse_special=special) == expected, text


def test_ids_are_those_of_hugging_face(tokenizer, hugging_face, texts):
    # Its added tokens of several U+2581 match in the text as it is, before spaces become U+2581: only texts with that
    # very character can tell.
    texts = [text for text in texts if SPACE_MARK not in text]
    assert len(texts) >= N_TEXTS
    for batch in batches(texts):
        for text, expected in zip(batch, hugging_face.encode_batch(batch), strict=True):
            assert tokenizer.encode(text, parse_special=True) == expected.ids, text


def test_a_converted_tokenizer_json_gives_the_ids_of_hugging_face(tmp_path, hugging_face, texts):
    """With the rules of its added tokens, which the GGUF file lacks: literal U+2581 as well."""
    pytest.importorskip("gguf")
    from support.folders import t5gemma2_config
    from t5g._core import Tokenizer
    from t5g_convert.config import read_config
    from t5g_convert.tokenizer import read_vocabulary

    config = t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["vocab_size"] = 262144
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").symlink_to(gemma3.tokenizer_json())
    vocabulary = read_vocabulary(tmp_path, read_config(tmp_path))
    assert vocabulary.merges == []
    assert vocabulary.notes == ["Added tokens without a row in the embedding are left out: <image_soft_token>."]
    converted = Tokenizer(
        vocabulary.pieces,
        vocabulary.scores,
        vocabulary.types,
        bos_id=2,
        eos_id=1,
        unk_id=3,
        pad_id=0,
        prefix_ids=list(vocabulary.around.prefix),
        suffix_ids=list(vocabulary.around.suffix),
        added_tokens=list(vocabulary.added_flags.items()),
    )
    assert any(SPACE_MARK in text for text in texts)
    texts = [text for text in texts if "<image_soft_token>" not in text]
    for batch in batches(texts):
        for text, expected in zip(batch, hugging_face.encode_batch(batch), strict=True):
            assert converted.encode(text, parse_special=True) == expected.ids, text


def any_ids(tokenizer):
    """Runs of random ids, of bytes that make characters, and of all ids in order."""
    rng = random.Random(5)
    byte = [tokenizer.find(f"<0x{value:02X}>") for value in range(256)]
    some = [*(byte[b] for b in "ñ€😀a".encode()), tokenizer.bos_id, tokenizer.unk_id, tokenizer.find("<end_of_turn>")]
    draws = [
        lambda: rng.randrange(tokenizer.vocab_size),
        lambda: rng.choice(byte),
        lambda: rng.choice(some),
        lambda: rng.randrange(300),
    ]
    all_ids = [[rng.choice(draws)() for _ in range(rng.randint(0, 12))] for _ in range(20_000)]
    all_ids += [list(range(i, min(i + 1000, tokenizer.vocab_size))) for i in range(0, tokenizer.vocab_size, 1000)]
    return all_ids


@pytest.mark.parametrize("skip", [False, True])
def test_text_of_any_ids_is_that_of_hugging_face(tokenizer, hugging_face, skip):
    for ids in any_ids(tokenizer):
        expected = hugging_face.decode(ids, skip_special_tokens=skip)
        assert tokenizer.decode(ids, skip_special_tokens=skip) == expected, ids


@pytest.mark.parametrize("skip", [False, True])
def test_streamed_text_of_any_ids_is_that_of_hugging_face(tokenizer, hugging_face, skip):
    from support.testing_module import StreamDecoder

    for ids in any_ids(tokenizer):
        decoder = StreamDecoder(tokenizer, skip_special_tokens=skip)
        text = "".join([*(decoder.push(i) for i in ids), decoder.finish()])
        assert text == hugging_face.decode(ids, skip_special_tokens=skip), ids


def test_special_pieces_are_those_of_hugging_face(tokenizer, hugging_face):
    added = hugging_face.get_added_tokens_decoder()
    expected = {i for i, token in added.items() if token.special and i < tokenizer.vocab_size}
    assert {i for i in range(tokenizer.vocab_size) if tokenizer.is_special(i)} == expected


def test_chat_prompt_is_the_rendered_template(tokenizer, hugging_face, texts):
    rng = random.Random(6)
    texts = [text for text in texts if not any(mark in text for mark in ("<", SPACE_MARK))]
    for _ in range(2_000):
        contents = rng.sample(texts, rng.choice((1, 3)))
        roles = ["user", "assistant", "user"]
        messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        rendered = "".join(
            f"<start_of_turn>{'model' if m['role'] == 'assistant' else 'user'}\n{m['content'].strip()}<end_of_turn>\n"
            for m in messages
        )
        expected = hugging_face.encode(rendered + "<start_of_turn>model\n", add_special_tokens=False).ids
        assert tokenizer.chat_prompt(messages) == expected, messages
