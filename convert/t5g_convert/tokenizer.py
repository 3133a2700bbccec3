"""The tokenizer files of a checkpoint folder become one Vocabulary that gives Hugging Face's ids."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t5g._core import Tokenizer
from t5g.errors import ModelFormatError

from t5g_convert.added_tokens import AddedTokens, read_added_tokens
from t5g_convert.bpe import GO_ON, BpeModel, model_type, read_bpe
from t5g_convert.chat_templates import notes_on_chat_templates, read_chat_templates
from t5g_convert.config import T5GEMMA, T5GEMMA2, ModelConfig
from t5g_convert.post_processor import Around, read_post_processor
from t5g_convert.safetensors import read_json
from t5g_convert.sentencepiece_model import read_sentencepiece
from t5g_convert.vocabulary import NORMAL, SPACE, Vocabulary, placeholder

_DECODERS = ("Replace", "ByteFallback", "Fuse")


def read_vocabulary(folder: Path, config: ModelConfig, *, use_tokenizer: bool = True) -> Vocabulary:
    """Read the tokenizer of a checkpoint folder, fitted to the embedding.

    A folder without one gets a placeholder vocabulary, with a note: its model still runs on token ids.
    """
    json_path, model_path = folder / "tokenizer.json", folder / "tokenizer.model"
    tokenizer = read_json(json_path) if use_tokenizer and json_path.is_file() else None
    why = None
    if not use_tokenizer:
        why = "No tokenizer was asked for"
    elif tokenizer is not None and model_type(tokenizer) == "WordLevel":
        # A word list cannot be a T5Gemma's tokenizer; it stands in for one beside random weights.
        why = "tokenizer.json holds a WordLevel word list, which no T5Gemma has"
    elif tokenizer is None and not model_path.is_file():
        why = f"{folder} has no tokenizer.json or tokenizer.model"
    if why is not None:
        return _placeholder(config, why)
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.is_file() else {}
    if tokenizer is not None:
        vocabulary = _read_json_file(folder, config, settings, tokenizer)
    else:
        vocabulary = _read_model_file(folder, config, settings)
    vocabulary.chat_templates = read_chat_templates(folder, settings)
    vocabulary.notes += notes_on_chat_templates(vocabulary.chat_templates)
    return vocabulary


def _placeholder(config: ModelConfig, why: str) -> Vocabulary:
    eos = config.eos_token_ids[0] if config.eos_token_ids else 1
    special = {"<pad>": config.pad_token_id, "<eos>": eos, "<bos>": config.bos_token_id, "<unk>": 3}
    vocabulary = placeholder(config.n_tokens, special, why)
    vocabulary.fit(config.n_tokens, "the placeholder vocabulary")
    vocabulary.around = Around((config.bos_token_id,) if config.architecture == T5GEMMA2 else ())
    return vocabulary


def _read_json_file(
    folder: Path, config: ModelConfig, settings: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> Vocabulary:
    """Read tokenizer.json, which is all that transformers looks at where it is there."""
    path = folder / "tokenizer.json"
    model = read_bpe(path, tokenizer)
    vocabulary = model.vocabulary()
    if (folder / "tokenizer.model").is_file():
        _compare(vocabulary, read_sentencepiece(folder / "tokenizer.model"))
    suffice, doubtful = model.scores_suffice()
    if not suffice or not _agree(vocabulary, model, doubtful):
        vocabulary.merges = model.in_order()
    vocabulary.notes += _notes_on_steps(tokenizer)
    # Which class transformers takes where none is named.
    usual = "GemmaTokenizer" if config.architecture == T5GEMMA else "TokenizersBackend"
    is_gemma = str(settings.get("tokenizer_class") or usual).startswith("GemmaTokenizer")
    added = read_added_tokens(folder, settings, tokenizer, model.ids, is_gemma)
    assert added is not None  # there is a tokenizer.json
    _add(vocabulary, added, config, model.mergeable(), str(path))
    vocabulary.around = read_post_processor(path, tokenizer)
    if tokenizer.get("post_processor") is None:
        vocabulary.around = _around_by_settings(vocabulary, config, settings)
        if vocabulary.around != Around():
            vocabulary.notes.append(
                "tokenizer.json has no post-processor: what tokenizer_config.json says of bos and eos is followed, "
                "as transformers 4 does. transformers 5 adds nothing."
            )
    vocabulary.notes += _notes_on_around(vocabulary, settings)
    return vocabulary


def _read_model_file(folder: Path, config: ModelConfig, settings: Mapping[str, Any]) -> Vocabulary:
    """Read tokenizer.model, where there is no tokenizer.json; the settings say what is added around a text."""
    path = folder / "tokenizer.model"
    vocabulary = read_sentencepiece(path)
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    added = read_added_tokens(folder, settings, None, ids, True)
    if added is None:
        vocabulary.fit(config.n_tokens, str(path))
    else:
        _add(vocabulary, added, config, set(), str(path))
    bos = settings.get("add_bos_token")
    bos = bos if isinstance(bos, bool) else config.architecture == T5GEMMA2
    vocabulary.around = _around_by_settings(vocabulary, config, {**settings, "add_bos_token": bos})
    vocabulary.notes += _notes_on_around(vocabulary, settings)
    return vocabulary


def _around_by_settings(vocabulary: Vocabulary, config: ModelConfig, settings: Mapping[str, Any]) -> Around:
    """Give what tokenizer_config.json says is added around a text."""
    bos = vocabulary.named_ids.get("bos_token", config.bos_token_id)
    eos = vocabulary.named_ids.get("eos_token", config.eos_token_ids[0])
    return Around(
        (bos,) if settings.get("add_bos_token") is True else (), (eos,) if settings.get("add_eos_token") is True else ()
    )


def _add(vocabulary: Vocabulary, added: AddedTokens, config: ModelConfig, mergeable: set[str], where: str) -> None:
    """Lay added tokens over the pieces and fill up to the embedding's rows."""
    vocab_size = config.n_tokens
    vocabulary.add({i: token for i, token in added.tokens.items() if i < vocab_size}, mergeable)
    vocabulary.named_ids = {name: i for name, i in added.named.items() if i < vocab_size}
    beyond = sorted(token.content for i, token in added.tokens.items() if i >= vocab_size)
    if beyond:
        # Gemma 3's own text models are like this: one tokenizer serves models with and without image tokens.
        vocabulary.notes.append(f"Added tokens without a row in the embedding are left out: {', '.join(beyond)}.")
    vocabulary.notes += added.notes()
    vocabulary.fit(vocab_size, where)


def _compare(vocabulary: Vocabulary, other: Vocabulary) -> None:
    """Take the scores of tokenizer.model where it has the same pieces in the same order of merging, else say so."""
    n = len(other.pieces)
    # Other types than these may have been renamed; Gemma 2's tokenizer.json has a tab in the place of its byte.
    normal = [i for i in range(min(n, len(vocabulary.pieces))) if other.types[i] == NORMAL]
    differing = [i for i in normal if vocabulary.pieces[i] != other.pieces[i]]
    if differing or n > len(vocabulary.pieces):
        what = f"token {differing[0]} differs" if differing else "it has fewer tokens"
        vocabulary.notes.append(f"tokenizer.json does not agree with tokenizer.model ({what}); tokenizer.json is used.")
        return
    order = sorted(range(n), key=lambda i: -vocabulary.scores[i])
    scores = [other.scores[i] for i in order if vocabulary.types[i] == NORMAL and len(vocabulary.pieces[i]) > 1]
    if all(a > b for a, b in itertools.pairwise(scores)):
        vocabulary.description = "tokenizer.model, added tokens from tokenizer.json"
        vocabulary.scores[:n] = other.scores


def _agree(vocabulary: Vocabulary, model: BpeModel, texts: list[str]) -> bool:
    """Say whether scores and merges give the same tokens for these texts."""
    if not texts:
        return True
    by_score, by_rank = (
        Tokenizer(
            vocabulary.pieces,
            vocabulary.scores,
            vocabulary.types,
            bos_id=0,
            eos_id=0,
            unk_id=0,
            pad_id=0,
            added_tokens=[],
            merges=merges,
        )
        for merges in ([], model.in_order())
    )
    return all(by_score.encode(text) == by_rank.encode(text) for text in texts)


def _notes_on_steps(tokenizer: Mapping[str, Any]) -> list[str]:
    """Say which steps of the tokenizer are not carried over."""
    notes = []
    replaces_spaces = False
    for step in _steps(tokenizer.get("normalizer"), "normalizers"):
        pattern = step.get("pattern")
        is_space = isinstance(pattern, dict) and " " in (pattern.get("String"), pattern.get("Regex"))
        if step.get("type") == "Replace" and is_space and step.get("content") == SPACE:
            replaces_spaces = True
        else:
            notes.append(_not_carried_over("normaliser", step))
    for step in _steps(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        pattern = step.get("pattern")
        if not (step.get("type") == "Split" and isinstance(pattern, dict) and pattern.get("String") == " "):
            notes.append(_not_carried_over("pre-tokenizer", step))
    if not replaces_spaces:
        notes.append("tokenizer.json does not turn spaces into U+2581, which t5g does: texts with spaces differ.")
    for step in _steps(tokenizer.get("decoder"), "decoders"):
        if step.get("type") not in _DECODERS:
            notes.append(f"The tokenizer's decoder {step.get('type')} is not carried over: decoded texts may differ.")
    model = tokenizer.get("model", {})
    for key in ("dropout", "ignore_merges"):
        if model.get(key):
            notes.append(f"The tokenizer's '{key}' is not carried over: texts may differ.")
    return notes


def _not_carried_over(what: str, step: Mapping[str, Any]) -> str:
    return f"The tokenizer's {what} {step.get('type')} is not carried over: texts that it changes differ."


def _steps(step: Any, key: str) -> list[dict[str, Any]]:
    """Take a sequence of steps apart."""
    if not isinstance(step, dict):
        return []
    if step.get("type") != "Sequence":
        return [step]
    inner = step.get(key)
    return [s for i in inner for s in _steps(i, key)] if isinstance(inner, list) else []


def _notes_on_around(vocabulary: Vocabulary, settings: Mapping[str, Any]) -> list[str]:
    """Say what is unusual about the tokens around a text, and where two files say two things."""
    notes = []
    ids = vocabulary.around.prefix + vocabulary.around.suffix
    if any(i >= len(vocabulary.pieces) for i in ids):
        raise ModelFormatError(f"tokenizer.json: 'post_processor' adds tokens beyond the vocabulary. {GO_ON}")
    if vocabulary.around.suffix:
        names = " ".join(vocabulary.pieces[i] for i in vocabulary.around.suffix)
        notes.append(f"The tokenizer ends every source with {names}, and so does t5g.")
    for key, found in (("add_bos_token", vocabulary.around.prefix), ("add_eos_token", vocabulary.around.suffix)):
        if isinstance(settings.get(key), bool) and settings[key] != bool(found):
            does = "adds" if found else "does not add"
            notes.append(
                f"tokenizer_config.json says {key} is {str(settings[key]).lower()}, but tokenizer.json's "
                f"post-processor {does} it. tokenizer.json is followed, as transformers 5 does."
            )
    return notes
