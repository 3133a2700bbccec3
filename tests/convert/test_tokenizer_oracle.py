"""Ids of converted tokenizers are those of transformers' AutoTokenizer on the same folder, whatever its files say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import t5g
from support.folders import Folder, t5gemma2_config, t5gemma_config
from support.tokenizers import CORPUS, sentencepiece_model
from support.tokenizers import tokenizer_json as toy_json

pytest.importorskip("gguf")
pytest.importorskip("sentencepiece")
pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

from t5g_convert.config import read_config  # noqa: E402
from t5g_convert.tokenizer import read_vocabulary  # noqa: E402
from test_tokenizer_files import AFTER, BEFORE, TEXT, native_tokenizer, template  # noqa: E402

pytestmark = pytest.mark.oracle
N_PIECES, ROWS = 384, 420
PROCESSORS = {
    "none": {"single": [TEXT]},
    "bos": {"single": [BEFORE, TEXT]},
    "eos": {"single": [TEXT, AFTER]},
    "both": {"single": [BEFORE, TEXT, AFTER]},
    "twice": {"single": [BEFORE, BEFORE, TEXT, AFTER]},
}
RULES = ("lstrip", "rstrip", "single_word", "normalized", "special")
CONTENTS = ("<sum>", "<q>", "ab", "the", " the", "  ", "\n", "\n\n", "▁▁", "x y", "9", "é", "<s", "dog dog", "\t")


def token(i: int, content: str, **rules: bool) -> dict[str, Any]:
    return {"id": i, "content": content, **dict.fromkeys(RULES, False), **rules}


def base() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(toy_json(sentencepiece_model()))
    return found


def write(folder: Path, tokenizer: dict[str, Any] | None, settings: dict[str, Any], config: dict[str, Any]) -> Any:
    """Write the files of a folder, and return transformers' tokenizer and the native one."""
    folder.mkdir(exist_ok=True)
    for side in (config["encoder"].get("text_config", config["encoder"]), config["decoder"]):
        side["vocab_size"] = ROWS
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | settings))
    native = native_tokenizer(read_vocabulary(folder, read_config(folder)))
    return transformers.AutoTokenizer.from_pretrained(folder), native


def random_texts(rng: random.Random, n: int, extra: tuple[str, ...] = ()) -> list[str]:
    words = [
        *CORPUS.split(),
        *CONTENTS,
        *extra,
        "",
        " ",
        "  ",
        "\n",
        "\t",
        "\u00a0",
        "\u3000",
        "▁",
        "_",
        "é",
        "漢字",
        "🙂",
        ".",
    ]
    return [
        "",
        *("".join(rng.choice((w, w, w + " ")) for w in rng.choices(words, k=rng.randint(1, 9))) for _ in range(n)),
    ]


def panics(theirs: Any, text: str) -> bool:
    """Where two tokens want the same spaces, it may end in a Rust panic, which is no Exception."""
    try:
        theirs(text)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return True
    return False


def compare(theirs: Any, ours: Any, texts: list[str]) -> None:
    for text in texts:
        if panics(theirs, text):
            ours.encode(text)
            continue
        assert ours.encode(text, parse_special=True) == theirs(text).input_ids, text
        plain = theirs(text, split_special_tokens=True, add_special_tokens=False).input_ids
        assert ours.encode(text, add_special_tokens=False) == plain, text
        ids = ours.encode(text, parse_special=True)
        for skip in (False, True):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip), text


@pytest.mark.parametrize("make", [t5gemma_config, t5gemma2_config])
@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("tokenizer_class", ["GemmaTokenizer", "PreTrainedTokenizerFast"])
def test_bos_and_eos(tmp_path: Path, name: str, tokenizer_class: str, make: Any) -> None:
    processor = template(*PROCESSORS[name]["single"]) | {"pair": [TEXT, {"Sequence": {"id": "B", "type_id": 1}}]}
    processor["single"] = [{k: v | {"type_id": 0} for k, v in part.items()} for part in processor["single"]]
    processor["pair"] = [{k: v | {"type_id": 0} for k, v in part.items()} for part in processor["pair"]]
    processor["special_tokens"] = {
        k: v | {"tokens": [f"<{k}>"] * len(v["ids"])} for k, v in processor["special_tokens"].items()
    }
    tokenizer = base() | {"post_processor": processor}
    for settings in ({}, {"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False}):
        settings = settings | {"tokenizer_class": tokenizer_class}
        compare(*write(tmp_path, tokenizer, settings, make()), ["", "a", "the quick brown fox"])


@pytest.mark.parametrize("seed", range(12))
def test_rules_of_added_tokens(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    tokenizer = base()
    vocab = tokenizer["model"]["vocab"]
    following = N_PIECES
    for content in rng.sample(CONTENTS, 8):
        i = vocab.get(content, following)
        following += i == following
        rules = {rule: rng.random() < 0.4 for rule in RULES}
        # Of tokens that have spaces and are normalized, transformers forgets that they are special.
        rules["normalized"] = rules["normalized"] and " " not in content
        tokenizer["added_tokens"].append(token(i, content, **rules))
    rng.shuffle(tokenizer["added_tokens"][-8:])
    settings = {"tokenizer_class": rng.choice(("GemmaTokenizer", "PreTrainedTokenizerFast"))}
    theirs, ours = write(tmp_path, tokenizer, settings, t5gemma2_config())
    compare(theirs, ours, random_texts(rng, 400))


@pytest.mark.parametrize("tokenizer_class", ["GemmaTokenizer", "PreTrainedTokenizerFast", None])
@pytest.mark.parametrize("make", [t5gemma_config, t5gemma2_config])
def test_added_tokens_in_other_files(tmp_path: Path, tokenizer_class: str | None, make: Any) -> None:
    tokenizer = base()
    tokenizer["added_tokens"] += [token(384, "<sum>", lstrip=True), token(385, "<q>", special=True)]
    decoder = {
        "384": token(384, "<sum>", rstrip=True, special=True),
        "385": token(385, "<q>", special=True),
        "386": token(386, "<new>"),
    }
    for entry in decoder.values():
        del entry["id"]
    several: tuple[dict[str, Any], ...] = (
        {"added_tokens_decoder": decoder},
        {"extra_special_tokens": ["<sum>", "<more>"]},
        {"additional_special_tokens": ["<sum>", "<more>"]},
        {"boi_token": "<sum>", "eos_token": "<q>"},
        {"extra_special_tokens": {"image_token": "<sum>"}},
    )
    for settings in several:
        if tokenizer_class is not None:
            settings = settings | {"tokenizer_class": tokenizer_class}
        theirs, ours = write(tmp_path, tokenizer, settings, make())
        compare(theirs, ours, random_texts(random.Random(1), 100, ("<new>", "<more>", "<mask>", "<start_of_turn>")))


def test_special_tokens_map(tmp_path: Path) -> None:
    tokenizer = base()
    tokenizer["added_tokens"] += [token(384, "<sum>"), token(385, "<q>")]
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"additional_special_tokens": ["<q>", "<more>"], "eos_token": {"content": "<sum>", "lstrip": True}})
    )
    theirs, ours = write(tmp_path, tokenizer, {"tokenizer_class": "GemmaTokenizer"}, t5gemma2_config())
    compare(theirs, ours, random_texts(random.Random(2), 100, ("<more>",)))


@pytest.mark.parametrize("seed", range(6))
def test_merges_that_scores_cannot_tell(tmp_path: Path, seed: int) -> None:
    """Random merges: two pieces that make a third need not be one of them."""
    rng = random.Random(seed)
    tokenizer = base()
    vocab = tokenizer["model"]["vocab"] = dict(list(tokenizer["model"]["vocab"].items())[:266])
    pieces = list("abcd▁")
    vocab |= {piece: len(vocab) + i for i, piece in enumerate(pieces)}
    merges = tokenizer["model"]["merges"] = []
    while len(vocab) < N_PIECES:
        pair = rng.choices(pieces, k=2)
        if len("".join(pair)) < 6 and pair not in merges:
            merges.append(pair)
            if "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                pieces.append("".join(pair))
    settings = {"tokenizer_class": rng.choice(("GemmaTokenizer", "PreTrainedTokenizerFast"))}
    theirs, ours = write(tmp_path, tokenizer, settings, t5gemma2_config())
    texts = ["".join(rng.choices("abcd ", k=rng.randint(1, 30))) for _ in range(400)]
    compare(theirs, ours, texts)
    vocabulary = read_vocabulary(tmp_path, read_config(tmp_path))
    vocabulary.merges = []
    by_score = native_tokenizer(vocabulary)
    assert any(by_score.encode(text) != ours.encode(text) for text in texts), "the merges make no difference here"


def test_characters_beside_a_single_word(tmp_path: Path) -> None:
    """Characters count as parts of words or not, and as white space or not, as they do there."""
    tokenizer = base()
    tokenizer["added_tokens"] += [token(384, "<w>", single_word=True), token(385, "<s>", lstrip=True, rstrip=True)]
    theirs, ours = write(tmp_path, tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast"}, t5gemma2_config())
    codes = [*range(0x3100), *range(0x3100, 0x110000, 61)]
    characters = [chr(i) for i in codes if not 0xD800 <= i < 0xE000]
    for begin in range(0, len(characters), 500):
        text = "".join(f"<w>{c}.{c}<w>.<s>{c}" for c in characters[begin : begin + 500])
        assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids, begin


def test_from_the_folder_to_the_model(tmp_path: Path) -> None:
    """The file carries it all: what is added, rules and merges; the target side gets none of what is added."""
    config = t5gemma2_config()
    for side in (config["encoder"]["text_config"], config["decoder"]):
        side["vocab_size"] = ROWS
    tokenizer = base()
    tokenizer["added_tokens"] += [token(384, "<sum>", lstrip=True), token(385, "<q>", special=True, rstrip=True)]
    single = [BEFORE, TEXT, AFTER]
    tokenizer["post_processor"] = template(*single)
    source = Folder.of(config).write(tmp_path / "hf")
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{k: v | {"type_id": 0} for k, v in part.items()} for part in single],
        "pair": pair,
        "special_tokens": {
            name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (("<bos>", 2), ("<eos>", 1))
        },
    }
    theirs, _ = write(source, tokenizer, {"tokenizer_class": "GemmaTokenizer"}, config)
    t5g.convert(source, tmp_path / "m.gguf", type="f32", vision=False)
    t5g.quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    for name in ("m.gguf", "q.gguf"):
        with t5g.Model(tmp_path / name) as model:
            text = "the dog <sum> jumps <q>  over"
            ids = theirs(text).input_ids
            assert model.tokenizer.encode(text, parse_special=True) == ids
            assert model.encode(text, parse_special=True).token_ids == ids
            assert (ids[0], ids[-1]) == (2, 1)
            target = model.tokenizer.encode("the fox", add_special_tokens=False)
            assert model.score(text, "the fox").token_ids == target
            first = model.generate(text, decoder_prefix="the fox", max_new_tokens=3)
            assert first.token_ids == model.generate(text, decoder_prefix=target, max_new_tokens=3).token_ids
