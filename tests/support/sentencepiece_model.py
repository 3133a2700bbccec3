"""SentencePiece as an oracle: a vocabulary as a serialized model.

Written field by field, because sentencepiece's own schema needs protobuf.
"""

from __future__ import annotations

import struct
from typing import Any

from support.toy_vocabulary import CONTROL, UNKNOWN, USER_DEFINED, Arrays


def processor(vocabulary: Arrays, *, match_control: bool) -> Any:
    """Make a processor; with `match_control`, it matches control pieces in text, but for pad, eos, bos and unk."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model(vocabulary, match_control=match_control))


def model(vocabulary: Arrays, *, match_control: bool) -> bytes:
    """Serialize a vocabulary whose ids 0 to 3 are pad, eos, bos and unk."""
    message = bytearray()
    for i, (piece, score, kind) in enumerate(zip(*vocabulary, strict=True)):
        if piece == "<unk>":
            kind = UNKNOWN
        elif kind == CONTROL and match_control and i > 2:
            kind = USER_DEFINED
        if kind == USER_DEFINED:
            piece = piece.replace(" ", "▁")
        if kind in (UNKNOWN, CONTROL, USER_DEFINED):
            score = 0.0
        message += _bytes(1, _bytes(1, piece.encode()) + _float(2, score) + _int(3, kind))
    names = zip((48, 47, 46, 45), (b"<pad>", b"<eos>", b"<bos>", b"<unk>"), strict=True)
    ids = zip((43, 42, 41, 40), range(4), strict=True)
    trainer = _int(3, 2) + _int(4, len(vocabulary.pieces)) + _int(35, 1)  # BPE with byte fallback
    trainer += b"".join(_int(*i) for i in ids) + b"".join(_bytes(*name) for name in names)
    # No dummy prefix, white space kept, spaces escaped.
    normalizer = _bytes(1, b"identity") + _int(3, 0) + _int(4, 0) + _int(5, 1)
    return bytes(message) + _bytes(2, trainer) + _bytes(3, normalizer)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)
