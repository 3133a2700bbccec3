"""From tokenizer.json or tokenizer.model to one Vocabulary that a SentencePiece BPE reads the way Hugging Face does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from t5g.converter.config import T5GEMMA2, ModelConfig
from t5g.converter.safetensors import read_json
from t5g.converter.sentencepiece_model import read_sentencepiece
from t5g.converter.vocabulary import BYTE, NORMAL, UNKNOWN, UNUSED, Vocabulary, placeholder
from t5g.errors import InvalidArgumentError, ModelFormatError
from t5g.text_files import read_text

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>\Z")
_GO_ON = "Pass --no-tokenizer (tokenizer=False) to convert without it."


def read_vocabulary(folder: Path, config: ModelConfig, *, use_tokenizer: bool = True) -> Vocabulary:
    """Read the tokenizer of a checkpoint folder, fitted to the embedding.

    A folder without one gets a placeholder vocabulary, with a note: its model still runs on token ids.
    """
    vocab_size = config.decoder.vocab_size
    json_path, model_path = folder / "tokenizer.json", folder / "tokenizer.model"
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.is_file() else {}
    tokenizer = read_json(json_path) if use_tokenizer and json_path.is_file() else None
    if not use_tokenizer:
        vocabulary = placeholder(vocab_size, _special_ids(config), "No tokenizer was asked for")
    elif tokenizer is not None and _model_type(tokenizer) == "WordLevel":
        # A word list cannot be a T5Gemma's tokenizer; it stands in for one beside random weights.
        why = "tokenizer.json holds a WordLevel word list, which no T5Gemma has"
        vocabulary = placeholder(vocab_size, _special_ids(config), why)
    elif model_path.is_file():
        vocabulary = _read_model_file(model_path, json_path, tokenizer)
    elif tokenizer is not None:
        vocabulary = _from_tokenizer_json(json_path, tokenizer)
    else:
        vocabulary = placeholder(vocab_size, _special_ids(config), f"{folder} has no tokenizer.json or tokenizer.model")
    if not vocabulary.is_placeholder:
        added = (
            _added_tokens(json_path, tokenizer) if tokenizer is not None else _added_decoder(settings_path, settings)
        )
        vocabulary.add({i: token for i, token in added.items() if i < vocab_size})
        beyond = sorted(content for i, (content, _) in added.items() if i >= vocab_size)
        if beyond:
            # Gemma 3's own text models are like this: one tokenizer serves models with and without image tokens.
            vocabulary.notes.append(f"Added tokens without a row in the embedding are left out: {', '.join(beyond)}.")
    vocabulary.fit(vocab_size, str(json_path if tokenizer is not None else model_path))
    vocabulary.add_bos = _add_bos(config, settings, tokenizer)
    vocabulary.chat_template = None if vocabulary.is_placeholder else _chat_template(folder, settings)
    return vocabulary


def _special_ids(config: ModelConfig) -> dict[str, int]:
    eos = config.eos_token_ids[0] if config.eos_token_ids else 1
    return {"<pad>": config.pad_token_id, "<eos>": eos, "<bos>": config.bos_token_id, "<unk>": 3}


def _model_type(tokenizer: dict[str, Any]) -> str:
    model = tokenizer.get("model")
    return str(model.get("type", "BPE" if "merges" in model else None)) if isinstance(model, dict) else "None"


def _read_model_file(model_path: Path, json_path: Path, tokenizer: dict[str, Any] | None) -> Vocabulary:
    """Read tokenizer.model; where a tokenizer.json disagrees with it, the latter, which Hugging Face uses, wins."""
    vocabulary = read_sentencepiece(model_path)
    if tokenizer is None:
        return vocabulary
    other = _from_tokenizer_json(json_path, tokenizer)
    added = _added_tokens(json_path, tokenizer)
    shared = min(len(vocabulary.pieces), len(other.pieces))
    differing = [i for i in range(shared) if vocabulary.pieces[i] != other.pieces[i] and i not in added]
    if differing or len(other.pieces) < len(vocabulary.pieces):
        what = f"token {differing[0]} differs" if differing else "it has fewer tokens"
        other.notes.append(f"tokenizer.json does not agree with tokenizer.model ({what}); tokenizer.json is used.")
        return other
    vocabulary.description = "tokenizer.model, added tokens from tokenizer.json"
    vocabulary.pieces += other.pieces[shared:]
    vocabulary.scores += other.scores[shared:]
    vocabulary.types += other.types[shared:]
    return vocabulary


def _from_tokenizer_json(path: Path, tokenizer: dict[str, Any]) -> Vocabulary:
    """Turn a byte-fallback BPE's merges into scores: the merge of rank r gives its piece the score -r."""
    model = tokenizer.get("model")
    kind = _model_type(tokenizer)
    if kind != "BPE" or not isinstance(model, dict):
        raise ModelFormatError(f"{path}: the tokenizer's model is {kind}, expected BPE with byte fallback. {_GO_ON}")
    if not model.get("byte_fallback"):
        raise ModelFormatError(f"{path}: the tokenizer is BPE without byte fallback, which no T5Gemma has. {_GO_ON}")
    ids = model.get("vocab")
    if not isinstance(ids, dict) or not ids or not all(type(i) is int for i in ids.values()):
        raise ModelFormatError(f"{path}: 'model.vocab' is missing or does not map pieces to ids.")
    size = max(ids.values()) + 1
    if min(ids.values()) < 0 or size > 2 * len(ids) + 4096:
        raise ModelFormatError(f"{path}: 'model.vocab' has ids from {min(ids.values())} to {size - 1}.")
    ranks = _merge_ranks(path, model.get("merges"))
    lowest = -float(max(ranks.values(), default=0) + 1)
    vocabulary = Vocabulary([], [], [], "tokenizer.json")
    vocabulary._extend(size)
    for piece, i in ids.items():
        rank = ranks.get(piece)
        vocabulary.pieces[i] = piece
        vocabulary.scores[i] = lowest if rank is None else -float(rank)
        if piece == model.get("unk_token"):
            vocabulary.types[i] = UNKNOWN
        elif _BYTE_PIECE.match(piece):
            vocabulary.types[i] = BYTE
        elif rank is not None or len(piece) == 1:
            vocabulary.types[i] = NORMAL
        else:
            vocabulary.types[i] = UNUSED  # no merge makes it, so it is an added token or never comes out
    vocabulary.notes += _normaliser_notes(tokenizer)
    return vocabulary


def _merge_ranks(path: Path, merges: Any) -> dict[str, int]:
    """Map each merged piece to the rank of the first merge that makes it. Merges are "a b" or ["a", "b"]."""
    if not isinstance(merges, list):
        raise ModelFormatError(f"{path}: 'model.merges' is missing or not a list.")
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) for p in pair):
            raise ModelFormatError(f"{path}: merge {rank} is {merge!r}, expected a pair of pieces.")
        ranks.setdefault(pair[0] + pair[1], rank)
    return ranks


def _normaliser_notes(tokenizer: dict[str, Any]) -> list[str]:
    normaliser = tokenizer.get("normalizer")
    if not isinstance(normaliser, dict):
        return []
    steps = normaliser.get("normalizers", []) if normaliser.get("type") == "Sequence" else [normaliser]
    others = [str(step.get("type")) for step in steps if isinstance(step, dict) and step.get("type") != "Replace"]
    return [f"The tokenizer's normaliser {name} is not carried over: texts that it changes differ." for name in others]


def _added_tokens(path: Path, tokenizer: dict[str, Any]) -> dict[int, tuple[str, bool]]:
    entries = tokenizer.get("added_tokens") or []
    added: dict[int, tuple[str, bool]] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("content"), str):
            raise ModelFormatError(f"{path}: 'added_tokens' has the entry {entry!r}, expected an id and its content.")
        added[entry["id"]] = (entry["content"], bool(entry.get("special")))
    return added


def _added_decoder(path: Path, settings: dict[str, Any]) -> dict[int, tuple[str, bool]]:
    """Read the added tokens of a tokenizer saved without tokenizer.json."""
    entries = settings.get("added_tokens_decoder") or {}
    added: dict[int, tuple[str, bool]] = {}
    for key, entry in entries.items() if isinstance(entries, dict) else []:
        if (
            not key.isdecimal()
            or not _is_id(int(key))
            or not isinstance(entry, dict)
            or not isinstance(entry.get("content"), str)
        ):
            raise ModelFormatError(f"{path}: 'added_tokens_decoder' has the entry {key!r}: {entry!r}.")
        added[int(key)] = (entry["content"], bool(entry.get("special")))
    return added


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 24


def _add_bos(config: ModelConfig, settings: dict[str, Any], tokenizer: dict[str, Any] | None) -> bool:
    """Say whether encoder input starts with bos: as the tokenizer's files say, else as the released models do."""
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    processor = tokenizer.get("post_processor") if tokenizer is not None else None
    if isinstance(processor, dict) and processor.get("type") == "TemplateProcessing":
        single = processor.get("single")
        return isinstance(single, list) and bool(single) and isinstance(single[0], dict) and "SpecialToken" in single[0]
    return config.architecture == T5GEMMA2


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return read_text(path, advice="Save it as UTF-8.")
        except InvalidArgumentError as error:
            raise ModelFormatError(str(error)) from error
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = (t for t in template if isinstance(t, dict) and t.get("name") == "default")
        template = next(named, {}).get("template")
    return template if isinstance(template, str) else None
