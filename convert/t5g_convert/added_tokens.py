"""The tokens that a tokenizer takes out of a text before BPE, with the rules and ids that transformers gives them.

They stand in up to four files. transformers reads tokenizer.json's, then tokenizer_config.json's, whose rules win; the
tokens that have a name (`bos_token`, ...) are special whatever an entry says. An id that the vocabulary has for another
piece does not count: such a token gets the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from t5g.errors import ModelFormatError

from t5g_convert.safetensors import read_json

# What GemmaTokenizer has names for, whatever the files say.
_GEMMA_NAMES = {
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_EXTRA = ("extra_special_tokens", "additional_special_tokens")
_GEMMAS_OWN = re.compile(
    r"<(pad|eos|bos|unk|mask|2mass|unused\d+|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token)>"
    r"|\[(@BOS@|multimodal)\]"
)
_MAX_ID = 1 << 24


@dataclass(frozen=True)
class AddedToken:
    """One token, with the fields of Hugging Face's `AddedToken`."""

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False
    special: bool = False


@dataclass(frozen=True)
class AddedTokens:
    """All of a tokenizer: tokens by id, the ids of those that have a name ("bos_token"), the ids that files say."""

    tokens: Mapping[int, AddedToken]
    named: Mapping[str, int]
    listed_ids: Mapping[str, int]

    def notes(self) -> Iterator[str]:
        """Say which special tokens are not Gemma's own, and which tokens have another id than a file says."""
        own = [t.content for t in self.tokens.values() if t.special and not _GEMMAS_OWN.fullmatch(t.content)]
        if own:
            yield (
                f"Special tokens of this checkpoint's own: {_listing(own)}. "
                "In a text they count only with parse_special=True (t5g-run --special)."
            )
        moved = [
            f"{token.content} {i} (not {self.listed_ids[token.content]})"
            for i, token in self.tokens.items()
            if self.listed_ids.get(token.content, i) != i
        ]
        if moved:
            yield f"Added tokens whose listed ids are other pieces' get those of transformers: {_listing(moved)}."


def read_added_tokens(
    folder: Path, settings: Mapping[str, Any], tokenizer: Mapping[str, Any] | None, ids: Mapping[str, int], gemma: bool
) -> AddedTokens | None:
    """Read the added tokens of a folder; None where no file lists any.

    Parameters
    ----------
    settings
        Content of tokenizer_config.json.
    tokenizer
        Content of tokenizer.json, or None where there is none.
    ids
        The vocabulary without added tokens.
    gemma
        Whether transformers loads the folder as a GemmaTokenizer, which builds itself anew from the vocabulary.
    """
    listed = _listed(folder, settings, tokenizer, gemma)
    if listed is None:
        return None
    names = _names(folder, settings, gemma)
    found: dict[str, AddedToken] = {}
    for _, token in listed:
        found.setdefault(token.content, token)
    for value in names.values():
        content = _content(value)
        if content in found:
            found[content] = replace(found[content], special=True)
        elif content in ids or content not in _GEMMA_NAMES.values():
            found[content] = _named_token(value)
    for value in _extra(folder, settings):
        found.setdefault(_content(value), _named_token(value))
    listed_ids = {token.content: i for i, token in listed}
    by_content = _place(found, listed_ids, ids)
    tokens = {i: found[content] for content, i in sorted(by_content.items(), key=lambda item: item[1])}
    named = {name: by_content[_content(value)] for name, value in names.items() if _content(value) in by_content}
    return AddedTokens(tokens, named, listed_ids)


def _place(found: Iterable[str], listed_ids: Mapping[str, int], ids: Mapping[str, int]) -> dict[str, int]:
    """Give every token its id."""
    pieces = {i: piece for piece, i in ids.items()}
    placed = {c: i for c, i in listed_ids.items() if pieces.get(i, c) == c}
    following = max([len(ids) - 1, *placed.values()]) + 1
    for content in found:
        if content in ids:
            placed.setdefault(content, ids[content])
        if content not in placed:
            placed[content] = following
            following += 1
    return placed


def _listed(
    folder: Path, settings: Mapping[str, Any], tokenizer: Mapping[str, Any] | None, gemma: bool
) -> list[tuple[int, AddedToken]] | None:
    """Give ids and tokens in the order in which transformers adds them."""
    path = folder / "tokenizer_config.json"
    decoder = settings.get("added_tokens_decoder")
    config_entries = dict(_decoder_entries(path, decoder)) if decoder is not None else None
    json_entries = dict(_json_entries(folder / "tokenizer.json", tokenizer)) if tokenizer is not None else None
    if config_entries is None and json_entries is None:
        return None
    if config_entries is not None and (gemma or json_entries is None):
        return sorted(config_entries.items(), key=lambda item: item[0])
    entries = {token.content: (i, token) for i, token in (json_entries or {}).items()}
    entries |= {token.content: (i, token) for i, token in sorted((config_entries or {}).items(), key=lambda x: x[0])}
    return list(entries.values())


def _json_entries(path: Path, tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    entries = tokenizer.get("added_tokens") or []
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not _is_text(entry.get("content")):
            raise ModelFormatError(f"{path}: 'added_tokens' has the entry {entry!r}, expected an id and its content.")
        yield entry["id"], _token(entry)


def _decoder_entries(path: Path, decoder: Any) -> Iterator[tuple[int, AddedToken]]:
    if not isinstance(decoder, dict):
        raise ModelFormatError(f"{path}: 'added_tokens_decoder' is not an object.")
    for key, entry in decoder.items():
        if not (key.isdecimal() and len(key) < 9 and _is_id(int(key))):
            raise ModelFormatError(f"{path}: 'added_tokens_decoder' has the entry {key!r}: {entry!r}.")
        if not isinstance(entry, dict) or not _is_text(entry.get("content")):
            raise ModelFormatError(f"{path}: 'added_tokens_decoder' has the entry {key!r}: {entry!r}.")
        yield int(key), _token(entry)


def _token(entry: Mapping[str, Any]) -> AddedToken:
    special = bool(entry.get("special", False))
    flags = {name: bool(entry.get(name, False)) for name in ("lstrip", "rstrip", "single_word")}
    normalized = bool(entry.get("normalized", not special))
    return AddedToken(entry["content"], **flags, normalized=normalized, special=special)


def _named_token(value: Any) -> AddedToken:
    return _token({"normalized": False, **(value if isinstance(value, dict) else {"content": value}), "special": True})


def _names(folder: Path, settings: Mapping[str, Any], gemma: bool) -> dict[str, Any]:
    """Tokens with a name: a text or an entry each."""
    names: dict[str, Any] = dict(_GEMMA_NAMES) if gemma else {}
    for source in (settings, _special_tokens_map(folder, settings)):
        extra = source.get("extra_special_tokens")
        named = {key: value for key, value in source.items() if key.endswith("_token")}
        named |= extra if isinstance(extra, dict) else {}
        names |= {key: value for key, value in named.items() if _content(value)}
    return names


def _extra(folder: Path, settings: Mapping[str, Any]) -> Iterator[Any]:
    """Yield special tokens without a name."""
    for source in (settings, _special_tokens_map(folder, settings)):
        for key in _EXTRA:
            values = source.get(key)
            yield from (value for value in values if _content(value)) if isinstance(values, list) else ()


def _special_tokens_map(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / "special_tokens_map.json"
    return read_json(path) if "added_tokens_decoder" not in settings and path.is_file() else {}


def _listing(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _content(value: Any) -> str:
    content = value.get("content") if isinstance(value, dict) else value
    return content if _is_text(content) else ""


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_ID
