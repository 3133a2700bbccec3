"""The vocabulary as the file stores it: pieces, scores and types, whatever tokenizer file they come from."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from t5g.errors import ModelFormatError

from t5g_convert.added_tokens import AddedToken
from t5g_convert.post_processor import Around

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"
# Bits of an added token's rules, as docs/file-format.md has them.
_LSTRIP, _RSTRIP, _SINGLE_WORD, _NORMALIZED, _MERGEABLE = 1, 2, 4, 8, 16


@dataclass
class Vocabulary:
    """Pieces by id, with SentencePiece's score and type of each."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    description: str  # where it comes from, for the summary
    is_placeholder: bool = False
    around: Around = field(default_factory=Around)
    named_ids: Mapping[str, int] = field(default_factory=dict)  # of "bos_token" and so on
    added_flags: dict[int, int] = field(default_factory=dict)  # rules of added tokens by id; none: there are no rules
    merges: list[str] = field(default_factory=list)  # "LEFT RIGHT" in order, where the scores do not tell it
    chat_templates: dict[str, str] = field(default_factory=dict)  # by name
    notes: list[str] = field(default_factory=list)

    def find(self, piece: str, default: int) -> int:
        """Give the id of `piece`, or `default` where there is none."""
        return self.pieces.index(piece) if piece in self.pieces else default

    def add(self, tokens: Mapping[int, AddedToken], mergeable: AbstractSet[str]) -> None:
        """Lay added tokens over the pieces, as Hugging Face tokenizers do. `mergeable`: what BPE can make as well."""
        for i, kind in enumerate(self.types):
            if kind == USER_DEFINED:  # SentencePiece matches them where spaces are U+2581
                self.added_flags[i] = _NORMALIZED
        for i, token in tokens.items():
            self.extend(i + 1)
            if self.types[i] != UNKNOWN:
                self.types[i] = CONTROL if token.special else USER_DEFINED
            self.pieces[i] = token.content
            self.added_flags[i] = (
                _LSTRIP * token.lstrip
                | _RSTRIP * token.rstrip
                | _SINGLE_WORD * token.single_word
                | _NORMALIZED * token.normalized
                | _MERGEABLE * (token.content in mergeable)
            )
            if token.content not in mergeable:
                self.scores[i] = 0.0

    def fit(self, vocab_size: int, where: str) -> None:
        """Fill up to the embedding's rows. Raises ModelFormatError on more pieces than rows, and on bad pieces."""
        if len(self.pieces) > vocab_size:
            raise ModelFormatError(
                f"{where}: the tokenizer has {len(self.pieces)} tokens, the embedding {vocab_size} rows. "
                "This is not the model's own tokenizer."
            )
        if len(self.pieces) < vocab_size and not self.is_placeholder:
            self.notes.append(f"{vocab_size - len(self.pieces)} of {vocab_size} embedding rows have no token.")
        self.extend(vocab_size)
        self._check(where)

    def _check(self, where: str) -> None:
        seen: dict[str, int] = {}
        for i, piece in enumerate(self.pieces):
            if seen.setdefault(piece, i) != i:
                raise ModelFormatError(f"{where}: tokens {seen[piece]} and {i} are both {piece!r}.")
        n_bytes = self.types.count(BYTE)
        # Gemma 2's tokenizer.json has a tab in the place of its byte.
        missing = [i for i in range(256) if f"<0x{i:02X}>" not in seen and not (i < 128 and chr(i) in seen)]
        if n_bytes and (missing or n_bytes > 256):
            raise ModelFormatError(f"{where}: {n_bytes} pieces for bytes (<0x00> ... <0xFF>), expected 256 or none.")

    def extend(self, n: int) -> None:
        """Fill up to `n` pieces with unused ones."""
        first = len(self.pieces)
        self.pieces += [f"<t5g_pad_{i}>" for i in range(first, n)]
        self.scores += [0.0] * (n - first)
        self.types += [UNUSED] * (n - first)


def placeholder(vocab_size: int, special_ids: Mapping[str, int], why: str) -> Vocabulary:
    """Make a vocabulary for a checkpoint without a tokenizer: its specials, and bytes where all 256 fit."""
    vocabulary = Vocabulary([], [], [], "placeholder (bytes)", is_placeholder=True)
    vocabulary.notes.append(f"{why}: the file gets a placeholder vocabulary and is of use with token ids only.")
    vocabulary.extend(vocab_size)
    for piece, i in special_ids.items():
        if i < vocab_size and vocabulary.types[i] == UNUSED:
            vocabulary.pieces[i], vocabulary.types[i] = piece, UNKNOWN if piece == "<unk>" else CONTROL
    free = [i for i, kind in enumerate(vocabulary.types) if kind == UNUSED]
    if len(free) >= 256:
        for byte, i in enumerate(free[:256]):
            vocabulary.pieces[i], vocabulary.types[i] = f"<0x{byte:02X}>", BYTE
    if len(free) > 256:
        vocabulary.pieces[free[256]], vocabulary.types[free[256]] = SPACE, NORMAL  # so that text survives a round trip
    return vocabulary
