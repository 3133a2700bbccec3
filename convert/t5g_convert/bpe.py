"""The BPE model of a tokenizer.json: ranks of merges become scores of pieces, as in SentencePiece, if they do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t5g.errors import ModelFormatError

from t5g_convert.vocabulary import BYTE, NORMAL, UNKNOWN, UNUSED, Vocabulary

GO_ON = "Pass --no-tokenizer (tokenizer=False) to convert without it."
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>\Z")


@dataclass(frozen=True)
class BpeModel:
    """Pieces and merges as tokenizer.json has them."""

    ids: Mapping[str, int]
    merges: Mapping[tuple[str, str], int]  # to their ranks, in order
    unk_token: str | None

    def vocabulary(self) -> Vocabulary:
        """Give the pieces with scores: the first merge that makes a piece, of rank r, gives it the score -r."""
        first: dict[str, int] = {}
        for (left, right), rank in self.merges.items():
            first.setdefault(left + right, rank)
        lowest = -float(max(first.values(), default=0) + 1)
        vocabulary = Vocabulary([], [], [], "tokenizer.json")
        vocabulary.extend(max(self.ids.values()) + 1)
        for piece, i in self.ids.items():
            score = -float(first[piece]) if piece in first else lowest
            vocabulary.pieces[i], vocabulary.scores[i] = piece, score
            if piece == self.unk_token:
                vocabulary.types[i] = UNKNOWN
            elif _BYTE_PIECE.match(piece):
                vocabulary.types[i] = BYTE
            elif piece in first or len(piece) == 1:
                vocabulary.types[i] = NORMAL
            else:
                vocabulary.types[i] = UNUSED  # no merge makes it, so it is an added token or never comes out
        return vocabulary

    def in_order(self) -> list[str]:
        """Give the merges as GGUF files have them."""
        return [f"{left} {right}" for left, right in self.merges]

    def mergeable(self) -> set[str]:
        """Give the pieces that can come out of BPE."""
        return {piece for piece in self.ids if len(piece) == 1} | {left + right for left, right in self.merges}

    def scores_suffice(self) -> tuple[bool, list[str]]:
        """Say whether joining the best-scoring piece first gives what joining by rank of pairs gives.

        It does if every two pieces that make a third are a merge, and the merges of one piece follow each other. Texts
        where two overlapping merges of one piece have the wrong order, if there are any, are to be compared.
        """
        mergeable = self.mergeable()
        made: set[str] = set()
        previous, n_pairs = "", 0
        for left, right in self.merges:
            piece = left + right
            if piece != previous and piece in made and not _is_run(piece):
                return False, []
            made.add(piece)
            previous = piece
        for piece in made:
            n_pairs += sum(piece[:i] in mergeable and piece[i:] in mergeable for i in range(1, len(piece)))
        return n_pairs == len(self.merges), self._doubtful()

    def _doubtful(self) -> list[str]:
        """Give texts x y z where x y and y z make the same piece, the second with the better rank."""
        texts = []
        for (x, y), rank in self.merges.items():
            piece = x + y
            if piece.startswith(y) and not _is_run(piece):
                other = self.merges.get((y, piece[len(y) :]))
                if other is not None and other < rank:
                    texts.append(x + piece)
        return texts


def _is_run(piece: str) -> bool:
    """Say whether a piece is one character again and again: such grow from the left, whatever the ranks."""
    return piece == piece[0] * len(piece)


def read_bpe(path: Path, tokenizer: Mapping[str, Any]) -> BpeModel:
    """Read the model of a tokenizer.json. Raises ModelFormatError where it is not BPE with byte fallback."""
    model = tokenizer.get("model")
    kind = model_type(tokenizer)
    if kind != "BPE" or not isinstance(model, dict):
        raise ModelFormatError(f"{path}: the tokenizer's model is {kind}, expected BPE with byte fallback. {GO_ON}")
    if not model.get("byte_fallback"):
        raise ModelFormatError(f"{path}: the tokenizer is BPE without byte fallback, which no T5Gemma has. {GO_ON}")
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise ModelFormatError(f"{path}: 'model.{key}' is {model[key]!r}, which no T5Gemma has. {GO_ON}")
    ids = model.get("vocab")
    if not isinstance(ids, dict) or not ids or not all(type(i) is int for i in ids.values()):
        raise ModelFormatError(f"{path}: 'model.vocab' is missing or does not map pieces to ids.")
    size = max(ids.values()) + 1
    if min(ids.values()) < 0 or size > 2 * len(ids) + 4096:
        raise ModelFormatError(f"{path}: 'model.vocab' has ids from {min(ids.values())} to {size - 1}.")
    return BpeModel(ids, _read_merges(path, model.get("merges"), ids), model.get("unk_token"))


def model_type(tokenizer: Mapping[str, Any]) -> str:
    """Give the type of a tokenizer.json's model, which old files do not name."""
    model = tokenizer.get("model")
    return str(model.get("type", "BPE" if "merges" in model else None)) if isinstance(model, dict) else "None"


def _read_merges(path: Path, merges: Any, ids: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Map pairs of pieces to their ranks. Merges are "a b" or ["a", "b"]."""
    if not isinstance(merges, list):
        raise ModelFormatError(f"{path}: 'model.merges' is missing or not a list.")
    ranks: dict[tuple[str, str], int] = {}
    for rank, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) and p for p in pair):
            raise ModelFormatError(f"{path}: merge {rank} is {merge!r}, expected a pair of pieces.")
        if pair[0] not in ids or pair[1] not in ids or pair[0] + pair[1] not in ids:
            continue  # never comes to pass
        ranks.setdefault((pair[0], pair[1]), rank)
    return ranks
