"""tokenizer.json and tokenizer.model become a vocabulary that makes the native tokenizer agree with Hugging Face."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import t5g
from support import folders
from support.chat_templates import GEMMA
from support.folders import Folder

gguf = pytest.importorskip("gguf")

from t5g_convert.config import read_config  # noqa: E402
from t5g_convert.post_processor import Around  # noqa: E402
from t5g_convert.tokenizer import read_vocabulary  # noqa: E402
from t5g_convert.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary  # noqa: E402

BYTES = [f"<0x{i:02X}>" for i in range(256)]
PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *BYTES, "▁", "a", "b", "ab", "▁ab", "aba"]  # 266
MERGES = [["a", "b"], ["▁", "ab"], ["▁a", "b"], ["ab", "a"]]


def tokenizer_json(**change: Any) -> dict[str, Any]:
    model = {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {piece: i for i, piece in enumerate(PIECES)},
        "merges": MERGES,
    }
    special = [{"id": i, "content": PIECES[i], "special": True} for i in range(4)]
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": model | change,
        "added_tokens": special,
    }


def vocabulary_of(folder: Path, tokenizer: dict[str, Any] | None, settings: Any = None, **options: Any) -> Vocabulary:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(options.pop("config", folders.t5gemma2_config())))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return read_vocabulary(folder, read_config(folder), **options)


def config_of(vocab_size: int) -> dict[str, Any]:
    config = folders.t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["vocab_size"] = vocab_size
    return config


@pytest.mark.parametrize("merges", [MERGES, [" ".join(pair) for pair in MERGES]])
def test_ranks_become_scores_and_added_tokens_types(tmp_path: Path, merges: Any) -> None:
    tokenizer = tokenizer_json(merges=merges)
    tokenizer["added_tokens"] += [
        {"id": 266, "content": "<turn>", "special": True},
        {"id": 268, "content": "<b c>", "special": False},
        {"id": 270, "content": "<d e>", "special": False, "normalized": False},
    ]
    vocabulary = vocabulary_of(tmp_path, tokenizer)
    rows = dict(zip(vocabulary.pieces, zip(vocabulary.scores, vocabulary.types, strict=True), strict=True))
    assert len(vocabulary.pieces) == folders.VOCAB
    assert {piece: rows[piece] for piece in PIECES[260:]} == {
        "▁": (-4.0, NORMAL),
        "a": (-4.0, NORMAL),
        "b": (-4.0, NORMAL),
        "ab": (0.0, NORMAL),
        "▁ab": (-1.0, NORMAL),
        "aba": (-3.0, NORMAL),
    }
    assert vocabulary.types[:4] == [CONTROL, CONTROL, CONTROL, UNKNOWN]
    assert set(vocabulary.types[4:260]) == {BYTE}
    assert vocabulary.pieces[266:271] == ["<turn>", "<t5g_pad_267>", "<b c>", "<t5g_pad_269>", "<d e>"]
    assert vocabulary.types[266:271] == [CONTROL, UNUSED, USER_DEFINED, UNUSED, USER_DEFINED]
    assert {i: flags for i, flags in vocabulary.added_flags.items() if i >= 266} == {266: 0, 268: 8, 270: 0}
    assert any("29 of 300" in note for note in vocabulary.notes)


def test_more_tokens_than_rows(tmp_path: Path) -> None:
    config = config_of(265)
    with pytest.raises(t5g.ModelFormatError, match=r"tokenizer\.json: the tokenizer has 266 tokens, the embedding 265"):
        vocabulary_of(tmp_path, tokenizer_json(), config=config)


def test_added_tokens_beyond_the_rows_are_left_out(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"].append({"id": folders.VOCAB, "content": "<image>", "special": True})
    vocabulary = vocabulary_of(tmp_path, tokenizer)
    assert len(vocabulary.pieces) == folders.VOCAB
    assert any("left out: <image>" in note for note in vocabulary.notes)


def test_an_added_token_does_not_take_the_place_of_a_piece(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"] += [{"id": 263, "content": "<turn>"}]
    vocabulary = vocabulary_of(tmp_path, tokenizer)
    assert (vocabulary.pieces[263], vocabulary.pieces[266]) == ("ab", "<turn>")
    assert any("<turn> 266 (not 263)" in note for note in vocabulary.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "Unigram"}, "Unigram, expected BPE.*--no-tokenizer"),
        ({"type": "WordPiece"}, "WordPiece"),
        ({"byte_fallback": False}, "without byte fallback.*--no-tokenizer"),
        ({"merges": None}, "merges"),
        ({"merges": ["a b c"]}, "merge 0 is 'a b c'"),
        ({"merges": [["a", 1]]}, "merge 0"),
        ({"vocab": {}}, "vocab"),
        ({"vocab": {"a": "0"}}, "vocab"),
        ({"vocab": {"a": 1 << 40}}, "vocab"),
        ({"vocab": {"a": -1}}, "vocab"),
        ({"vocab": {"a": 0, "b": 0}}, None),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
    ],
)
def test_other_tokenizers_are_refused(tmp_path: Path, change: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert vocabulary_of(tmp_path, tokenizer_json(**change)).pieces[6] == "<t5g_pad_6>"
        return
    with pytest.raises(t5g.ModelFormatError, match=words) as error:
        vocabulary_of(tmp_path, tokenizer_json(**change))
    assert "tokenizer.json" in str(error.value)
    assert vocabulary_of(tmp_path, None, use_tokenizer=False).is_placeholder


def test_merges_of_what_is_no_piece_never_come_to_pass(tmp_path: Path) -> None:
    vocabulary = vocabulary_of(tmp_path, tokenizer_json(vocab={"a": 4, "b": 5, "ab": 6}))
    assert vocabulary.pieces[4:8] == ["a", "b", "ab", "<t5g_pad_7>"]


def test_bytes_must_be_complete(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    del tokenizer["model"]["vocab"]["<0x41>"]
    with pytest.raises(t5g.ModelFormatError, match=r"tokenizer\.json: 255 pieces for bytes"):
        vocabulary_of(tmp_path, tokenizer)


def test_a_tab_may_stand_in_the_place_of_its_byte(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    vocab = tokenizer["model"]["vocab"]
    vocab["\t"] = vocab.pop("<0x09>")
    native = native_tokenizer(vocabulary_of(tmp_path, tokenizer))
    assert native.encode("a\tb") == [vocab["a"], vocab["\t"], vocab["b"]]
    assert native.decode(native.encode("a\tbé")) == "a\tbé"


def test_half_a_character_is_no_piece(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"].append({"id": 280, "content": "\ud83d", "special": False})
    with pytest.raises(t5g.ModelFormatError, match=r"tokenizer\.json.*surrogate"):
        vocabulary_of(tmp_path, tokenizer)
    tokenizer["added_tokens"][-1]["content"] = "\ud83d\ude42"
    assert vocabulary_of(tmp_path, json.loads(json.dumps(tokenizer))).pieces[280] == "🙂"


def test_one_piece_twice(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"].append({"id": 280, "content": "ab", "special": False})
    with pytest.raises(t5g.ModelFormatError, match="tokens 263 and 280 are both 'ab'"):
        vocabulary_of(tmp_path, tokenizer)


def test_an_added_token_that_bpe_makes_as_well(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"].append({"id": 263, "content": "ab", "special": False})
    vocabulary = vocabulary_of(tmp_path, tokenizer)
    assert (vocabulary.types[263], vocabulary.scores[263], vocabulary.added_flags[263]) == (USER_DEFINED, 0.0, 8 | 16)


@pytest.mark.parametrize("tokenizer", [None, {"model": {"type": "WordLevel", "vocab": {"<pad>": 0, "t1": 1}}}])
def test_without_a_tokenizer_there_is_a_placeholder_that_loads(tmp_path: Path, tokenizer: Any) -> None:
    vocabulary = vocabulary_of(tmp_path, tokenizer)
    assert vocabulary.is_placeholder
    assert any("placeholder" in note for note in vocabulary.notes)
    native = native_tokenizer(vocabulary)
    assert native.decode(native.encode("née 🙂", add_special_tokens=False)) == "née 🙂"


def test_placeholder_of_a_tiny_vocabulary(tmp_path: Path) -> None:
    config = config_of(64)
    vocabulary = vocabulary_of(tmp_path, None, config=config)
    assert BYTE not in vocabulary.types
    assert native_tokenizer(vocabulary).encode("a", add_special_tokens=False) == [3]


BEFORE, TEXT, AFTER = ({"SpecialToken": {"id": "<bos>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<eos>"}})
IDS = {"<bos>": {"id": "<bos>", "ids": [2]}, "<eos>": {"id": "<eos>", "ids": [1]}, "two": {"id": "two", "ids": [7, 8]}}


def template(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "TemplateProcessing", "single": list(parts), "special_tokens": IDS}


@pytest.mark.parametrize(
    ("processor", "prefix", "suffix"),
    [
        (None, (), ()),
        (template(TEXT), (), ()),
        (template(BEFORE, TEXT), (2,), ()),
        (template(BEFORE, TEXT, AFTER), (2,), (1,)),
        (template({"SpecialToken": {"id": "two"}}, BEFORE, TEXT), (7, 8, 2), ()),
        ({"type": "RobertaProcessing", "cls": ["<bos>", 2], "sep": ["<eos>", 1]}, (2,), (1,)),
        ({"type": "ByteLevel"}, (), ()),
        ({"type": "Sequence", "processors": [template(TEXT, AFTER), template(BEFORE, TEXT)]}, (2,), (1,)),
    ],
)
def test_what_the_post_processor_puts_around_a_text(tmp_path: Path, processor: Any, prefix: Any, suffix: Any) -> None:
    vocabulary = vocabulary_of(tmp_path, tokenizer_json() | {"post_processor": processor})
    assert vocabulary.around == Around(prefix, suffix)
    assert any("ends every source with <eos>" in note for note in vocabulary.notes) is bool(suffix)


def test_settings_do_not_change_what_the_post_processor_says(tmp_path: Path) -> None:
    tokenizer = tokenizer_json() | {"post_processor": template(BEFORE, TEXT)}
    vocabulary = vocabulary_of(tmp_path, tokenizer, {"add_bos_token": False, "add_eos_token": True})
    assert vocabulary.around == Around((2,))
    assert any("says add_bos_token is false" in note for note in vocabulary.notes)
    assert any("says add_eos_token is true" in note for note in vocabulary.notes)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"add_bos_token": True}, Around((2,))),
        ({"add_bos_token": False, "add_eos_token": True}, Around((), (1,))),
        ({"add_bos_token": False, "add_eos_token": False}, Around()),
    ],
)
def test_without_a_post_processor_settings_count_and_that_is_noted(
    tmp_path: Path, settings: Any, expected: Around
) -> None:
    vocabulary = vocabulary_of(tmp_path, tokenizer_json(), settings)
    assert vocabulary.around == expected
    assert any("transformers 5 adds nothing" in note for note in vocabulary.notes) is (expected != Around())


@pytest.mark.parametrize(
    "processor",
    [
        {"type": "Unknown"},
        "template",
        template(BEFORE),
        template(TEXT, TEXT),
        template({"Sequence": {"id": "B"}}),
        template({"SpecialToken": {"id": "<none>"}}, TEXT),
        {"type": "TemplateProcessing"},
        {"type": "BertProcessing", "cls": ["<bos>", 999], "sep": ["<eos>", 1]},
    ],
)
def test_other_post_processors_are_refused(tmp_path: Path, processor: Any) -> None:
    with pytest.raises(t5g.ModelFormatError, match=r"tokenizer\.json.*post.processor"):
        vocabulary_of(tmp_path, tokenizer_json() | {"post_processor": processor})


@pytest.mark.parametrize(
    ("settings", "make", "expected"),
    [
        (None, folders.t5gemma_config, Around()),
        (None, folders.t5gemma2_config, Around((2,))),
        ({"add_bos_token": True}, folders.t5gemma_config, Around((2,))),
        ({"add_bos_token": False, "add_eos_token": True}, folders.t5gemma2_config, Around((), (1,))),
    ],
)
def test_without_tokenizer_json_the_settings_say_what_is_added(
    tmp_path: Path, settings: Any, make: Any, expected: Around
) -> None:
    pytest.importorskip("sentencepiece")
    from support.tokenizers import sentencepiece_model

    config = make()
    for side in (config["encoder"].get("text_config", config["encoder"]), config["decoder"]):
        side["vocab_size"] = 384
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model())
    assert vocabulary_of(tmp_path, None, settings, config=config).around == expected


def test_special_tokens_of_its_own_are_noted_with_the_way_to_match_them(tmp_path: Path) -> None:
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"] += [
        {"id": 266, "content": "<summary>", "special": True},
        {"id": 267, "content": "<start_of_turn>", "special": True},
        {"id": 269, "content": "<plain>", "special": False},
    ]
    (note,) = (note for note in vocabulary_of(tmp_path, tokenizer).notes if "parse_special" in note)
    assert "own: <summary>." in note
    assert "--special" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}, "normaliser NFC"),
        ({"normalizer": None}, "does not turn spaces into U"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer Whitespace"),
        ({"decoder": {"type": "Sequence", "decoders": [{"type": "Strip"}]}}, "decoder Strip"),
    ],
)
def test_what_cannot_be_carried_over_is_noted(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    assert not any("carried over" in note for note in vocabulary_of(tmp_path, tokenizer_json()).notes)
    assert any(words in note for note in vocabulary_of(tmp_path, tokenizer_json() | change).notes)


def test_chat_template_from_either_place(tmp_path: Path) -> None:
    def templates(settings: Any) -> dict[str, str]:
        return vocabulary_of(tmp_path, tokenizer_json(), settings).chat_templates

    assert templates(None) == {}
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "of a processor"}))
    assert templates({}) == {"default": "of a processor"}
    named = [{"name": "tool use", "template": "x"}, {"name": "default", "template": "from settings"}]
    assert templates({"chat_template": named}) == {"tool_use": "x", "default": "from settings"}
    assert templates({"chat_template": {"rag": "y"}}) == {"rag": "y"}
    assert templates({"chat_template": "plain"}) == {"default": "plain"}
    (tmp_path / "chat_template.jinja").write_text("from file")
    assert templates({"chat_template": "plain"}) == {"default": "from file"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("more")
    assert templates({"chat_template": "plain"}) == {"default": "from file", "rag": "more"}


def test_templates_that_are_not_gemmas_are_noted(tmp_path: Path) -> None:
    def notes(template: Any) -> str:
        return "\n".join(vocabulary_of(tmp_path, tokenizer_json(), {"chat_template": template}).notes)

    assert "template" not in notes(GEMMA)
    assert "template" not in notes("{{ bos_token }}" + GEMMA + "\n")
    assert "is not Gemma's own" in notes("{{ messages }}")
    assert "t5g[chat]" in notes("{{ messages }}")
    assert "template (rag) is not" in notes({"default": GEMMA, "rag": "x"})
    assert "No chat template is the default. There are: rag." in notes({"rag": GEMMA})


def test_metadata_of_the_tokenizer(tmp_path: Path) -> None:
    folder = Folder.of(folders.t5gemma_config())
    folder.config["eos_token_id"] = [1, 267]
    source = folder.write(tmp_path / "hf")
    tokenizer = tokenizer_json()
    tokenizer["added_tokens"].append({"id": 267, "content": "<end_of_turn>", "special": True})
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    (source / "chat_template.jinja").write_text("{{ messages }}")
    t5g.convert(source, tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")

    def value(key: str) -> Any:
        return reader.get_field(key).contents()

    assert value("tokenizer.ggml.model") == "llama"
    assert value("tokenizer.ggml.tokens")[263:266] == ["ab", "▁ab", "aba"]
    assert len(value("tokenizer.ggml.scores")) == len(value("tokenizer.ggml.token_type")) == folders.VOCAB
    names = {"bos": 2, "eos": 1, "unknown": 3, "padding": 0, "eot": 267}
    assert {name: value(f"tokenizer.ggml.{name}_token_id") for name in names} == names
    assert not any(value(f"tokenizer.ggml.{name}") for name in ("add_bos_token", "add_eos_token", "add_space_prefix"))
    assert value("tokenizer.chat_template") == "{{ messages }}"
    assert value("t5gemma.eos_token_ids") == [1, 267]


def native_tokenizer(vocabulary: Vocabulary) -> Any:
    from t5g._core import Tokenizer

    return Tokenizer(
        vocabulary.pieces,
        vocabulary.scores,
        vocabulary.types,
        bos_id=2,
        eos_id=1,
        unk_id=3,
        pad_id=0,
        prefix_ids=list(vocabulary.around.prefix),
        suffix_ids=list(vocabulary.around.suffix),
        added_tokens=list(vocabulary.added_flags.items()) or None,
        merges=vocabulary.merges,
    )


@pytest.fixture(scope="module")
def texts() -> list[str]:
    from support.tokenizers import CORPUS

    rng = random.Random(0)
    words = [*CORPUS.split(), "\n", "  ", "\t", "é", "漢字", "🙂", "<eos>", "<start_of_turn>", "<0x41>", "0042"]
    return ["", " ", *(" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(500))]


@pytest.mark.oracle
@pytest.mark.parametrize("files", [("tokenizer.json",), ("tokenizer.model",), ("tokenizer.model", "tokenizer.json")])
def test_same_ids_as_hugging_face_and_sentencepiece(tmp_path: Path, texts: list[str], files: tuple[str, ...]) -> None:
    sentencepiece, tokenizers = pytest.importorskip("sentencepiece"), pytest.importorskip("tokenizers")
    from support.tokenizers import sentencepiece_model, write_tokenizer
    from support.tokenizers import tokenizer_json as toy_json

    config = config_of(400)
    write_tokenizer(tmp_path, files, add_bos=False)
    vocabulary = vocabulary_of(tmp_path, None, config=config)
    assert vocabulary.around == Around()
    assert vocabulary.notes == ["16 of 400 embedding rows have no token."]
    native = native_tokenizer(vocabulary)
    model = sentencepiece_model()
    hugging_face = tokenizers.Tokenizer.from_str(toy_json(model))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in texts:
        assert native.encode(text, parse_special=True) == hugging_face.encode(text, add_special_tokens=False).ids, text
        assert native.encode(text) == pieces.encode(text), text
    if "tokenizer.model" in files:
        np.testing.assert_array_equal(vocabulary.scores[10:384], [pieces.get_score(i) for i in range(10, 384)])


@pytest.mark.oracle
def test_tokenizer_json_wins_where_the_two_disagree(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    pytest.importorskip("tokenizers")
    from support.tokenizers import sentencepiece_model
    from support.tokenizers import tokenizer_json as toy_json

    model = sentencepiece_model()
    tokenizer = json.loads(toy_json(model))
    ids = tokenizer["model"]["vocab"]
    first, second = sorted(ids, key=ids.get)[-2:]
    ids[first], ids[second] = ids[second], ids[first]
    (tmp_path / "tokenizer.model").write_bytes(model)
    config = config_of(384)
    vocabulary = vocabulary_of(tmp_path, tokenizer, config=config)
    assert vocabulary.pieces[-2:] == [second, first]
    assert any("does not agree" in note for note in vocabulary.notes)


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x05\x0a\x03abc"]
)
def test_damaged_tokenizer_model(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(t5g.ModelFormatError, match=r"tokenizer\.model"):
        vocabulary_of(tmp_path, None)
