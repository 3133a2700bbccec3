"""The vocabulary as the file stores it: pieces, scores and types, whatever tokenizer file they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from t5g.errors import ModelFormatError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"


@dataclass
class Vocabulary:
    """Pieces by id, with SentencePiece's score and type of each."""

    pieces: list[str]
    scores: list[float]
    types: list[int]
    description: str  # where it comes from, for the summary
    is_placeholder: bool = False
    add_bos: bool | None = None  # None: nothing says, so the family decides
    chat_template: str | None = None
    notes: list[str] = field(default_factory=list)

    def find(self, piece: str, default: int) -> int:
        """Give the id of `piece`, or `default` where there is none."""
        return self.pieces.index(piece) if piece in self.pieces else default

    def add(self, tokens: Mapping[int, tuple[str, bool]]) -> None:
        """Lay added tokens (id -> content, whether special) over the pieces, as Hugging Face tokenizers do."""
        for i, (content, special) in sorted(tokens.items()):
            piece = content.replace(" ", SPACE)
            self._extend(i + 1)
            if self.types[i] == UNKNOWN and self.pieces[i] == piece:
                continue
            self.pieces[i], self.scores[i], self.types[i] = piece, 0.0, CONTROL if special else USER_DEFINED

    def fit(self, vocab_size: int, where: str) -> None:
        """Fill up to the embedding's rows. Raises ModelFormatError on more pieces than rows, and on bad pieces."""
        if len(self.pieces) > vocab_size:
            raise ModelFormatError(
                f"{where}: the tokenizer has {len(self.pieces)} tokens, the embedding {vocab_size} rows. "
                "This is not the model's own tokenizer."
            )
        if len(self.pieces) < vocab_size and not self.is_placeholder:
            self.notes.append(f"{vocab_size - len(self.pieces)} of {vocab_size} embedding rows have no token.")
        self._extend(vocab_size)
        self._check(where)

    def _check(self, where: str) -> None:
        seen: dict[str, int] = {}
        for i, piece in enumerate(self.pieces):
            if seen.setdefault(piece, i) != i:
                raise ModelFormatError(f"{where}: tokens {seen[piece]} and {i} are both {piece!r}.")
        n_bytes = self.types.count(BYTE)
        if n_bytes not in (0, 256):
            raise ModelFormatError(f"{where}: {n_bytes} pieces for bytes (<0x00> ... <0xFF>), expected 256 or none.")

    def _extend(self, n: int) -> None:
        first = len(self.pieces)
        self.pieces += [f"<t5g_pad_{i}>" for i in range(first, n)]
        self.scores += [0.0] * (n - first)
        self.types += [UNUSED] * (n - first)


def placeholder(vocab_size: int, special_ids: Mapping[str, int], why: str) -> Vocabulary:
    """Make a vocabulary for a checkpoint without a tokenizer: its specials, and bytes where all 256 fit."""
    vocabulary = Vocabulary([], [], [], "placeholder (bytes)", is_placeholder=True)
    vocabulary.notes.append(f"{why}: the file gets a placeholder vocabulary and is of use with token ids only.")
    vocabulary._extend(vocab_size)
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
