"""A vocabulary small enough to work out by hand what the tokenizer must do with it."""

from __future__ import annotations

from typing import Any, NamedTuple

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PAD, EOS, BOS, UNK = range(4)


class Arrays(NamedTuple):
    """What the constructor of the tokenizer takes."""

    pieces: list[str]
    scores: list[float]
    types: list[int]

    def tokenizer(self, **changes: Any) -> Any:
        """Make the tokenizer; bos is put in front unless told otherwise."""
        from t5g._core import Tokenizer

        settings = {"bos_id": BOS, "eos_id": EOS, "unk_id": UNK, "pad_id": PAD, "prefix_ids": [BOS], **changes}
        return Tokenizer(self.pieces, self.scores, self.types, **settings)


SPECIAL = [
    ("<pad>", CONTROL),
    ("<eos>", CONTROL),
    ("<bos>", CONTROL),
    ("<unk>", UNKNOWN),
    ("<mask>", CONTROL),
    ("<start_of_turn>", CONTROL),
    ("<end_of_turn>", CONTROL),
    ("<start_of_image>", CONTROL),
    ("<unused7>", CONTROL),
    ("\n", USER_DEFINED),
    ("\n\n", USER_DEFINED),
    ("  ", USER_DEFINED),
    ("   ", USER_DEFINED),
    ("<b>", USER_DEFINED),
    ("<unused", USER_DEFINED),
]
# In order of merging: the first joins first.
MERGED = ["ab", "bc", "abc", "▁a", "▁abc", "us", "er", "user", "mo", "de", "l▁", "mode", "model", "é!"]
CHARACTERS = ["▁", "a", "b", "c", "d", "e", "l", "m", "o", "r", "s", "u", "é", "!", "<", ">", "x"]


def arrays(byte_pieces: bool = True) -> Arrays:
    """Return the special pieces, 256 byte pieces if wanted, merged pieces by rank, and characters."""
    rows = [(piece, -1000.0, kind) for piece, kind in SPECIAL]
    if byte_pieces:
        rows += [(f"<0x{byte:02X}>", -1000.0, BYTE) for byte in range(256)]
    rows += [(piece, -float(rank), NORMAL) for rank, piece in enumerate(MERGED)]
    rows += [(piece, -100.0, NORMAL) for piece in CHARACTERS]
    rows += [("xx", 1.0, UNUSED)]
    return Arrays(*map(list, zip(*rows, strict=True)))
